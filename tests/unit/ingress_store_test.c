/* SPDX-License-Identifier: Apache-2.0 */
/* What producers are answered whose jobs are stored before they are accepted. */
#include "ingress_fixture.h"

/* Send a SUBMIT that is not answered yet. */
static struct door_request
post(const struct message_submit *s, uint32_t pipe)
{
	static const uint8_t body[LATENT_BYTES];
	struct door_request request = {.pipe = pipe};

	request.message = reply_create(MESSAGE_SUBMIT, s, body, sizeof(body));
	return request;
}

static void
ingress_asked(struct door_request *request)
{
	ingress_request(x.in, request);
	cr_assert_null(request->reply, "answered before it was stored");
	if (request->message != NULL)
		nng_msg_free(request->message);
	request->message = NULL;
}

/* What ${request} was answered. */
static enum message_type
answer(struct door_request *request, union message_any *m)
{
	static struct message_scratch scratch;
	struct message_frame frame = {.body_bytes = 0};

	cr_assert_not_null(request->reply, "not answered");
	if (x.last != NULL)
		nng_msg_free(x.last);
	x.last = request->reply;
	cr_assert_eq(message_frame(nng_msg_body(x.last), nng_msg_len(x.last),
			 &frame, NULL),
	    LATENTD_OK);
	cr_assert_eq(message_decode(&frame, &scratch, m, NULL), LATENTD_OK);
	return frame.type;
}

/* As the pipeline does it. */
static bool
stored(void)
{
	x.stored->storing = false;
	x.stored->spooled = true;
	job_move(&x.f.jobs, x.stored, JOB_QUEUED);
	return ingress_stored(x.in, x.stored);
}

Test(ingress_store, a_job_is_accepted_when_it_is_stored_and_says_so)
{
	struct message_submit s = submit_of("p", "k");
	struct door_request first, again;
	union message_any m;

	open_ingress();
	x.store = true;
	first = post(&s, 1);
	again = post(&s, 2);
	ingress_asked(&first);
	/* The same key meanwhile is the same job, and waits as well. */
	ingress_asked(&again);
	cr_assert_eq(x.accepted_n, 1);
	cr_assert(stored());
	cr_assert_eq(answer(&first, &m), MESSAGE_ACCEPTED);
	cr_assert_eq(m.accepted.durability, LATENTD_DURABILITY_SPOOLED);
	cr_assert_eq(answer(&again, &m), MESSAGE_ACCEPTED);
	cr_assert_eq(m.accepted.id, 1);
	close_ingress();
}

Test(ingress_store, a_job_that_cannot_be_stored_is_refused_to_all_who_asked)
{
	const struct job_busy busy = {
	    .reason = "storage", .retry_after_ms = 5000};
	struct message_submit s = submit_of("p", "k");
	struct door_request first, again;
	union message_any m;

	open_ingress();
	x.store = true;
	first = post(&s, 1);
	again = post(&s, 2);
	ingress_asked(&first);
	ingress_asked(&again);
	x.stored->storing = false;
	ingress_refused(x.in, x.stored, &busy);
	job_destroy(&x.f.jobs, x.stored);
	cr_assert_eq(answer(&first, &m), MESSAGE_BUSY);
	cr_assert_eq(answer(&again, &m), MESSAGE_BUSY);
	cr_assert_eq(m.busy.reason.bytes, strlen("storage"));
	cr_assert_eq(x.refused_n, 2);
	close_ingress();
}

Test(ingress_store, a_job_whose_owner_goes_while_it_is_stored_is_not_wanted)
{
	struct message_submit s = submit_of("p", "k");
	struct door_request first;
	union message_any m;

	open_ingress();
	x.store = true;
	s.cancel_on_disconnect = true;
	first = post(&s, 1);
	ingress_asked(&first);
	ingress_gone(x.in, 2);
	ingress_gone(x.in, 1);
	cr_assert_not(stored());
	cr_assert_eq(answer(&first, &m), MESSAGE_ACCEPTED);
	cr_assert_eq(x.stored->owner_pipe, 0);
	close_ingress();
}

Test(ingress_store, a_job_that_is_not_stored_says_so)
{
	struct message_submit s = submit_of("p", "k");
	union message_any m;

	open_ingress();
	cr_assert_eq(submit(&s, &m), MESSAGE_ACCEPTED);
	cr_assert_eq(m.accepted.durability, LATENTD_DURABILITY_NONE);
	close_ingress();
}
