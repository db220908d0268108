/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many connections there may be, of all and of one user.  Connections are
 * counted when one comes, among no more than there may be, so that no books
 * have to be kept.  What is turned away is told in the log at once, and after
 * that no more often than every TELL_NS.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <string.h>

#include "base/door_private.h"
#include "base/log.h"

#define TELL_NS UINT64_C(10000000000)
/* Who has such a part of an IPv6 address has all of it. */
#define IPV6_COUNTED_BYTES 8u

static void
read_address(nng_pipe pipe, struct connection *c)
{
	nng_sockaddr sa;

	if (nng_pipe_get_addr(pipe, NNG_OPT_REMADDR, &sa) != 0)
		return;
	c->family = sa.s_family;
	if (sa.s_family == NNG_AF_INET)
		memcpy(c->address, &sa.s_in.sa_addr, sizeof(sa.s_in.sa_addr));
	else if (sa.s_family == NNG_AF_INET6)
		memcpy(c->address, sa.s_in6.sa_addr, IPV6_COUNTED_BYTES);
}

void
door_read_peer(struct door *d, nng_pipe pipe, struct connection *c)
{
	int listener = nng_listener_id(nng_pipe_listener(pipe));

	c->peer = (struct door_peer){.pipe = (uint32_t)nng_pipe_id(pipe)};
	c->peer.has_uid =
	    nng_pipe_get_uint64(pipe, NNG_OPT_IPC_PEER_UID, &c->peer.uid) == 0;
	if (!c->peer.has_uid)
		read_address(pipe, c);
	uv_mutex_lock(&d->mutex);
	for (size_t i = 0; i < d->beyond_n; i++)
		c->peer.beyond |= d->beyond[i] == listener;
	uv_mutex_unlock(&d->mutex);
}

static bool
is_exempt(const struct door *d, const struct connection *c)
{
	return c->peer.has_uid &&
	    (c->peer.uid == 0 || c->peer.uid == d->options.own_uid);
}

static bool
is_same_user(const struct connection *a, const struct connection *b)
{
	if (a->peer.has_uid != b->peer.has_uid)
		return false;
	if (a->peer.has_uid)
		return a->peer.uid == b->peer.uid;
	return a->family == b->family &&
	    memcmp(a->address, b->address, sizeof(a->address)) == 0;
}

bool
door_admits(const struct door *d, const struct connection *c)
{
	const struct door_options *o = &d->options;
	const struct connection *other;
	unsigned same_n = 0;

	if (is_exempt(d, c))
		return d->pipes_n < o->max_connections;
	if (d->pipes_n + o->reserved_connections >= o->max_connections)
		return false;
	if (o->max_user_connections == 0)
		return true;
	for (other = d->connections; other != NULL; other = other->hh.next)
		same_n += !other->ended && is_same_user(c, other);
	return same_n < o->max_user_connections;
}

void
door_refuse(struct door *d, const struct connection *c)
{
	d->refused_n++;
	if (c != NULL)
		d->refused = *c;
	if (!d->closing)
		uv_async_send(&d->wake);
}

static void
tell(const struct connection *c, uint64_t n)
{
	char who[INET6_ADDRSTRLEN + 8] = "";

	if (c->peer.has_uid)
		snprintf(who, sizeof(who), "uid %" PRIu64, c->peer.uid);
	else if (c->family == NNG_AF_INET6)
		inet_ntop(AF_INET6, c->address, who, sizeof(who));
	else
		inet_ntop(AF_INET, c->address, who, sizeof(who));
	log_warn("connections of %s are turned away, %" PRIu64
		 " of late: it has user_connections, or there are too many in "
		 "all",
	    who, n);
}

void
door_tell_refused(struct door *d)
{
	uint64_t now_ns = uv_hrtime(), n;
	struct connection latest;

	uv_mutex_lock(&d->mutex);
	n = d->refused_n;
	latest = d->refused;
	uv_mutex_unlock(&d->mutex);
	if (n == d->refused_told_n ||
	    (d->refused_told_ns != 0 && now_ns - d->refused_told_ns < TELL_NS))
		return;
	tell(&latest, n - d->refused_told_n);
	d->refused_told_n = n;
	d->refused_told_ns = now_ns;
}

uint64_t
door_refused_n(struct door *d)
{
	uint64_t n;

	uv_mutex_lock(&d->mutex);
	n = d->refused_n;
	uv_mutex_unlock(&d->mutex);
	return n;
}

unsigned
door_connections_n(struct door *d)
{
	unsigned n;

	uv_mutex_lock(&d->mutex);
	n = d->pipes_n;
	uv_mutex_unlock(&d->mutex);
	return n;
}

void
door_change(struct door *d, unsigned max_user_connections)
{
	uv_mutex_lock(&d->mutex);
	d->options.max_user_connections = max_user_connections;
	uv_mutex_unlock(&d->mutex);
}
