/* SPDX-License-Identifier: Apache-2.0 */
#include "question.h"

#include <stdlib.h>
#include <string.h>

bool
question_is(const struct latentd_client *c, const struct channel *ch)
{
	return ch == &c->channels[CHANNEL_QUESTION];
}

void
question_answered(struct latentd_client *c, const struct channel *ch,
    enum latentd_err err, const char *text)
{
	struct question *q = &c->question;

	if (ch->ticket != q->number)
		return;
	reason_set(&q->why, err, "%s", text);
	q->answered = true;
	pthread_cond_broadcast(&c->changed);
}

void
question_reported(struct latentd_client *c, const struct channel *ch,
    const struct message_frame *frame)
{
	char *report = malloc(frame->body_bytes + 1);

	if (report == NULL) {
		question_answered(c, ch, LATENTD_ERR_MEMORY,
		    "no memory for the daemon's report");
		return;
	}
	if (frame->body_bytes > 0)
		memcpy(report, frame->body, frame->body_bytes);
	report[frame->body_bytes] = '\0';
	free(c->question.report);
	c->question.report = report;
	question_answered(c, ch, LATENTD_OK, "");
}

void
question_again(struct latentd_client *c, const struct channel *ch)
{
	struct question *q = &c->question;

	/* Who gave up has changed the number, and what was asked is gone. */
	q->wanted |= q->taken && ch->ticket == q->number;
}

void
question_refused(struct latentd_client *c, const struct reason *why)
{
	struct question *q = &c->question;

	if (!q->wanted)
		return;
	q->wanted = false;
	q->why = *why;
	q->answered = true;
	pthread_cond_broadcast(&c->changed);
}
