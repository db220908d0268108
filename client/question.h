/* SPDX-License-Identifier: Apache-2.0 */
/* The one question of ask.c, as replies see it.  With the mutex held. */
#ifndef CLIENT_QUESTION_H
#define CLIENT_QUESTION_H

#include "core.h"

/* question_is(client, ch): whether ${ch} is for questions. */
bool question_is(const struct latentd_client *client, const struct channel *ch);

/*
 * question_answered(client, ch, err, text): that of ${ch} is answered, if
 * anybody still waits for it.
 * question_reported(client, ch, frame): by REPORT, whose body is kept.
 * question_again(client, ch): it is to be asked again.
 * question_refused(client, why): one that has not been sent will not be.
 */
void question_answered(struct latentd_client *client, const struct channel *ch,
    enum latentd_err err, const char *text);
void question_reported(struct latentd_client *client, const struct channel *ch,
    const struct message_frame *frame);
void question_again(struct latentd_client *client, const struct channel *ch);
void question_refused(struct latentd_client *client, const struct reason *why);

#endif
