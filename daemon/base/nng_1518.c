/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nng before 1.6 does not survive that a peer dies while something is being
 * sent to it:
 *
 * - On a half-open ipc connection it takes EPIPE for "this listener is closed"
 *   and never accepts again (upstream #1518), so one producer that dies while
 *   connecting would lock out all later ones.
 * - It sends a message piece by piece.  When the connection is closed, because
 *   sending failed or the peer's end was read, just while another thread is
 *   between two pieces, the thread that cleans up closed connections waits for
 *   ever: none is released any more, and nng_close() hangs.  Reading has the
 *   same gap, but then only a failed send can meet it.
 *
 * The executable's sendmsg() stands before libc's for libnng as well.  To nng
 * it sends messages whole or, as far as nng knows, not yet: what a full socket
 * did not take is remembered here and sent when nng tries again.  It never
 * says that sending failed; the peer's end shows when nng reads, which closes
 * the connection in order.  Who sends something else than SP messages finds
 * the ordinary sendmsg().
 *
 * Link this file into every program that listens with such an nng.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FDS_MAX 65536
#define PIECES_MAX 4 /* nng: length, protocol header, body */

/* How much of the message in hand went out.  nng serialises sends on one
 * descriptor; several threads send on several. */
static atomic_size_t sent_bytes[FDS_MAX];

static size_t
whole(const struct msghdr *msg)
{
	size_t n = 0;

	for (size_t i = 0; i < msg->msg_iovlen; i++)
		n += msg->msg_iov[i].iov_len;
	return n;
}

/* Both sides of an SP connection begin with these eight bytes. */
static bool
is_greeting(const struct msghdr *msg)
{
	return msg->msg_iovlen == 1 && msg->msg_iov[0].iov_len == 8 &&
	    memcmp(msg->msg_iov[0].iov_base, "\0SP\0", 4) == 0;
}

/* An SP message's first piece is its length, on ipc with a 1 before it. */
static bool
is_message(const struct msghdr *msg)
{
	const uint8_t *at;
	size_t bytes;
	uint64_t length = 0;

	if (msg->msg_iovlen < 1 || msg->msg_iovlen > PIECES_MAX)
		return false;
	at = msg->msg_iov[0].iov_base;
	bytes = msg->msg_iov[0].iov_len;
	if (bytes != 8 && (bytes != 9 || *at++ != 1))
		return false;
	for (size_t i = 0; i < 8; i++)
		length = length << 8 | at[i];
	return length == whole(msg) - bytes;
}

static ssize_t
send_rest(int fd, const struct msghdr *msg, int flags, size_t skip_bytes)
{
	struct iovec pieces[PIECES_MAX];
	struct msghdr rest = *msg;
	size_t n = 0;

	for (size_t i = 0; i < msg->msg_iovlen; i++) {
		const struct iovec *piece = &msg->msg_iov[i];

		if (skip_bytes >= piece->iov_len) {
			skip_bytes -= piece->iov_len;
			continue;
		}
		pieces[n].iov_base = (char *)piece->iov_base + skip_bytes;
		pieces[n++].iov_len = piece->iov_len - skip_bytes;
		skip_bytes = 0;
	}
	rest.msg_iov = pieces;
	rest.msg_iovlen = n;
	return syscall(SYS_sendmsg, fd, &rest, flags);
}

static ssize_t
send_message(int fd, const struct msghdr *msg, int flags)
{
	size_t sent = atomic_load(&sent_bytes[fd]), all = whole(msg);
	ssize_t n = send_rest(fd, msg, flags, sent);

	if (n < 0 && errno != EPIPE && errno != ECONNRESET)
		return n;
	if (n >= 0 && sent + (size_t)n < all) {
		atomic_store(&sent_bytes[fd], sent + (size_t)n);
		errno = EAGAIN;
		return -1;
	}
	atomic_store(&sent_bytes[fd], 0);
	return (ssize_t)all;
}

__attribute__((visibility("default"))) ssize_t
sendmsg(int fd, const struct msghdr *msg, int flags)
{
	bool greeting = is_greeting(msg);
	ssize_t n;

	if (fd >= 0 && fd < FDS_MAX && greeting)
		atomic_store(&sent_bytes[fd], 0);
	if (fd >= 0 && fd < FDS_MAX && is_message(msg))
		return send_message(fd, msg, flags);
	n = syscall(SYS_sendmsg, fd, msg, flags);
	if (n < 0 && greeting && (errno == EPIPE || errno == ECONNRESET))
		return (ssize_t)whole(msg);
	return n;
}
