// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "reactor.h"

/* Reads that one connection gets before the others have their turn. */
#define READS_PER_TURN	4

/* First allocation for bytes that wait; it doubles from there, as long as the
 * size is a number of 32 bits.
 */
#define BUF_MIN_BYTES	256
#define BUF_MAX_BYTES	(1U << 31)

const char *const close_cause_names[CLOSE_CAUSE_COUNT] = {
#define X(cause, name) #name,
	CLOSE_CAUSES(X)
#undef X
};

static bool would_block(int err)
{
	return err == EAGAIN || err == EWOULDBLOCK || err == EINTR;
}

/**
 * conn_error_cause - why a connection was lost
 * @err: its socket's error, positive
 *
 * TCP's own timers, or the session's, have given a silent peer up.
 */
enum close_cause conn_error_cause(int err)
{
	return err == ETIMEDOUT ? CLOSE_SILENT : CLOSE_RESET;
}

static enum close_cause broken(void)
{
	return conn_error_cause(errno);
}

/* Room for @more bytes behind buf->end; the buffer may move. */
static struct conn_buf *buf_grow(struct conn_buf *buf, size_t more)
{
	size_t size = buf ? buf->size : BUF_MIN_BYTES;
	struct conn_buf *grown;
	size_t end;

	/* What was sent makes room before memory does. */
	if (buf && buf->start && buf->end + more > size) {
		memmove(buf->data, buf->data + buf->start, buf->end - buf->start);
		buf->end -= buf->start;
		buf->start = 0;
	}
	end = buf ? buf->end : 0;

	if (buf && end + more <= size)
		return buf;
	if (end + more > BUF_MAX_BYTES)
		return NULL;
	while (size < end + more)
		size *= 2;
	grown = realloc(buf, sizeof(*buf) + size);
	if (!grown)
		return NULL;
	if (!buf)
		memset(grown, 0, sizeof(*grown));
	grown->size = size;
	return grown;
}

static int buf_append(struct conn_buf **bufp, const uint8_t *data, size_t len)
{
	struct conn_buf *buf = buf_grow(*bufp, len);

	if (!buf)
		return -CLOSE_NO_MEMORY;
	memcpy(buf->data + buf->end, data, len);
	buf->end += len;
	*bufp = buf;
	return 0;
}

static void buf_free(struct conn_buf **bufp)
{
	free(*bufp);
	*bufp = NULL;
}

/* Drop what was sent when that is more than half, so that a queue which is
 * never quite empty does not grow.
 */
static void buf_consume(struct conn_buf *buf, size_t len)
{
	buf->start += len;
	if (buf->start > buf->end / 2) {
		memmove(buf->data, buf->data + buf->start, buf->end - buf->start);
		buf->end -= buf->start;
		buf->start = 0;
	}
}

/**
 * conn_free_buffers - drop all that waits
 * @c: the connection
 */
void conn_free_buffers(struct conn *c)
{
	buf_free(&c->in);
	buf_free(&c->out);
}

static size_t buf_waiting(const struct conn_buf *buf)
{
	return buf ? buf->end - buf->start : 0;
}

/* What was read and not answered is kept in @in, what was answered and not
 * sent in @out.
 */
static void settle(struct conn *c)
{
	sockbeat_conn_done(&c->at, buf_waiting(c->in), buf_waiting(c->out));
}

static void sent_bytes(struct reactor *r, struct conn *c, size_t len)
{
	r->counters.bytes_out += len;
	sockbeat_conn_count(&c->at, 0, len);
}

/**
 * conn_send - send bytes now, or queue what the socket has no room for
 * @r: the connection's reactor
 * @c: the connection
 * @data: the bytes
 * @len: how many
 *
 * Where the kernel may answer heartbeats again is said before the last byte is
 * sent: the client may be quick.
 *
 * A connection whose queue grows over max_queue_bytes is not read from until
 * the queue is empty; what its last read asked for is still queued.
 *
 * Return: 0, or -cause: the caller has to end the connection.
 */
int conn_send(struct reactor *r, struct conn *c, const uint8_t *data, size_t len)
{
	ssize_t sent = 0;

	sockbeat_conn_done(&c->at, c->at.undone, buf_waiting(c->out) + len);
	if (!c->out) {
		sent = send(c->fd, data, len, MSG_NOSIGNAL);
		if (sent == (ssize_t)len) {
			sent_bytes(r, c, len);
			return 0;
		}
		if (sent < 0) {
			if (!would_block(errno))
				return -broken();
			sent = 0;
		}
		sent_bytes(r, c, sent);
	}
	if (buf_append(&c->out, data + sent, len - sent))
		return -CLOSE_NO_MEMORY;
	if (!c->is_paused && c->out->end - c->out->start > r->config->max_queue_bytes) {
		c->is_paused = true;
		r->counters.queue_pauses++;
	}
	reactor_watch(r, c);
	return 0;
}

/**
 * conn_is_idle - whether all that the client asked for has been answered
 * @c: the connection
 */
bool conn_is_idle(const struct conn *c)
{
	return !c->out && !c->has_job && !c->is_stalled;
}

/* Add to the bytes kept from earlier reads as many as the service wants to see
 * and offer it all to the service. Returns how many of @data were used.
 */
static long feed_kept(struct reactor *r, struct conn *c, const uint8_t *data, size_t len)
{
	size_t missing = c->in->need - c->in->end;
	size_t take = len < missing ? len : missing;
	size_t need = 0;
	long used;

	if (buf_append(&c->in, data, take))
		return -CLOSE_NO_MEMORY;
	if (take < missing)
		return take;
	used = r->service->readable(r, c, c->in->data, c->in->end, &need);
	if (used < 0)
		return used;
	if (used == (long)c->in->end) {
		begun_stop(r, c);
		buf_free(&c->in);
		return take;
	}
	memmove(c->in->data, c->in->data + used, c->in->end - used);
	c->in->end -= used;
	c->in->need = need;
	if (c->is_stalled)
		begun_stop(r, c);
	else if (used)
		begun_start(r, c);
	return take;
}

static int feed(struct reactor *r, struct conn *c, const uint8_t *data, size_t len)
{
	while (len) {
		size_t need = 0;
		long used;

		/* It goes on from there when the stalled frame has its turn. */
		if (c->is_stalled)
			return buf_append(&c->in, data, len);
		if (c->in) {
			used = feed_kept(r, c, data, len);
			if (used < 0)
				return used;
			data += used;
			len -= used;
			continue;
		}
		used = r->service->readable(r, c, data, len, &need);
		if (used < 0)
			return used;
		data += used;
		len -= used;
		if (len) {
			if (buf_append(&c->in, data, len))
				return -CLOSE_NO_MEMORY;
			c->in->need = need;
			if (!c->is_stalled)
				begun_start(r, c);
			len = 0;
		}
	}
	return 0;
}

/* No more is read: end, but not before what the client asked for is sent. */
static enum conn_state end_of_input(struct reactor *r, struct conn *c, enum close_cause cause)
{
	if (conn_is_idle(c)) {
		reactor_close(r, c, cause);
		return CONN_CLOSED;
	}
	c->at_end = true;
	c->owes_read = false;
	c->end_cause = cause;
	c->is_paused = true;
	reactor_watch(r, c);
	return CONN_WAITING;
}

/* What was right before a bad frame is answered; for who floods us, or when we have
 * no room, nothing more is done.
 */
static bool is_bad_frame(enum close_cause cause)
{
	return cause == CLOSE_BAD_LENGTH || cause == CLOSE_BAD_CRC ||
	       cause == CLOSE_BAD_TYPE || cause == CLOSE_BAD_REQUEST;
}

/* The service does not go on with what a client sent. */
static enum conn_state end_by_service(struct reactor *r, struct conn *c, enum close_cause cause)
{
	if (!is_bad_frame(cause)) {
		reactor_close(r, c, cause);
		return CONN_CLOSED;
	}
	begun_stop(r, c);
	buf_free(&c->in);
	return end_of_input(r, c, cause);
}

/**
 * conn_feed_kept - hand what was kept to the service again
 * @r: the connection's reactor
 * @c: a connection that was stalled and is not any more
 *
 * Return: what is left of the connection.
 */
enum conn_state conn_feed_kept(struct reactor *r, struct conn *c)
{
	struct conn_buf *kept = c->in;
	int err;

	c->in = NULL;
	err = kept ? feed(r, c, kept->data, kept->end) : 0;
	buf_free(&kept);
	if (err)
		return end_by_service(r, c, -err);
	settle(c);
	reactor_watch(r, c);
	return CONN_WAITING;
}

/**
 * conn_on_readable - read what arrived and hand it to the service
 * @r: the connection's reactor
 * @c: the connection
 *
 * A read that does not fill the buffer has emptied the socket: there is no
 * second one just to be told so. Only behind the end of the stream, and behind
 * an urgent byte, epoll has nothing more to report: @reads_on.
 *
 * Return: what is left of the connection.
 */
enum conn_state conn_on_readable(struct reactor *r, struct conn *c)
{
	for (int i = 0; i < READS_PER_TURN && conn_is_read(c); i++) {
		ssize_t len = sockbeat_conn_read(&c->at, c->fd, r->buf, sizeof(r->buf));
		int err;

		if (!len)
			return end_of_input(r, c, CLOSE_PEER_CLOSE);
		if (len < 0 && would_block(errno))
			return CONN_WAITING;
		if (len < 0) {
			reactor_close(r, c, broken());
			return CONN_CLOSED;
		}
		r->counters.bytes_in += len;
		c->read_ms = reactor_now_ms();
		err = feed(r, c, r->buf, len);
		if (err)
			return end_by_service(r, c, -err);
		settle(c);
		if ((size_t)len < sizeof(r->buf) && !c->reads_on)
			return CONN_WAITING;
	}
	/* A paused connection is read again when epoll is told to watch it. */
	return conn_is_read(c) ? CONN_MORE : CONN_WAITING;
}

/**
 * conn_on_writable - send what waits
 * @r: the connection's reactor
 * @c: the connection
 *
 * Return: what is left of the connection, never CONN_MORE.
 */
enum conn_state conn_on_writable(struct reactor *r, struct conn *c)
{
	ssize_t sent;

	if (!c->out)
		return CONN_WAITING;
	sent = send(c->fd, c->out->data + c->out->start, c->out->end - c->out->start,
		    MSG_NOSIGNAL);
	if (sent < 0) {
		if (would_block(errno))
			return CONN_WAITING;
		reactor_close(r, c, broken());
		return CONN_CLOSED;
	}
	sent_bytes(r, c, sent);
	if (sent < (ssize_t)buf_waiting(c->out)) {
		buf_consume(c->out, sent);
		return CONN_WAITING;
	}

	buf_free(&c->out);
	/* A bad frame is never done with, so the kernel answers nothing behind it. */
	if (c->at_end) {
		if (!conn_is_idle(c)) {
			reactor_watch(r, c);
			return CONN_WAITING;
		}
		reactor_close(r, c, c->end_cause);
		return CONN_CLOSED;
	}
	settle(c);
	/* While it was not read from, a frame could not become complete. */
	if (c->is_paused && c->in && !c->is_stalled)
		begun_start(r, c);
	/* Who drains reads no more. */
	c->is_paused = r->draining;
	reactor_watch(r, c);
	if (r->service->writable)
		r->service->writable(r, c);
	return CONN_WAITING;
}
