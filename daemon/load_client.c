// SPDX-License-Identifier: BSD-3-Clause
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

/* Frames that a client has under way at most; a server that answers slower
 * than that makes it skip.
 */
#define MAX_FRAMES	1024

/* The body of a slow client's frame when --echo-bytes does not say. */
#define SLOW_BYTES	64

uint64_t load_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000ULL + now.tv_nsec / 1000;
}

uint64_t load_now_ms(const struct load *load)
{
	return (load_now_us() - load->start_us) / 1000;
}

/* xorshift32: spreads clients over time, nothing more. */
uint32_t load_random(struct load *load, uint32_t below)
{
	load->random ^= load->random << 13;
	load->random ^= load->random >> 17;
	load->random ^= load->random << 5;
	return below ? load->random % below : 0;
}

static void count_error(struct load *load, const char *what, int err)
{
	if (!load->errors++)
		snprintf(load->first_error, sizeof(load->first_error), "%s: %s",
			 what, strerror(err));
}

static uint8_t body_byte(const struct load_frame *frame, uint32_t position)
{
	if (frame->sleep_ms && position < sizeof(frame->sleep_ms))
		return ((const uint8_t *)&frame->sleep_ms)[position];
	return (frame->seed + position * 0x9e3779b1u) >> 24;
}

static uint8_t frame_byte(const struct load_frame *frame, uint32_t offset)
{
	if (offset < FRAME_HEADER_BYTES)
		return frame->header[offset];
	return body_byte(frame, offset - FRAME_HEADER_BYTES);
}

static struct load_frame *frame_at(const struct load_client *c, uint32_t number)
{
	return &c->frames[number & (c->n_frames - 1)];
}

static bool grow_ring(struct load_client *c)
{
	uint32_t n = c->n_frames ? c->n_frames * 2 : 2;
	struct load_frame *frames;

	if (n > MAX_FRAMES)
		return false;
	frames = calloc(n, sizeof(*frames));
	if (!frames)
		return false;
	for (uint32_t i = c->answered; i != c->queued; i++)
		frames[i & (n - 1)] = *frame_at(c, i);
	free(c->frames);
	c->frames = frames;
	c->n_frames = n;
	return true;
}

static void queue_frame(struct load *load, struct load_client *c, enum frame_type type,
			uint32_t body_len)
{
	static uint8_t body[FRAME_MAX_BYTES];
	struct load_frame *frame;

	if (c->queued - c->answered == c->n_frames && !grow_ring(c)) {
		load->skipped++;
		return;
	}
	frame = frame_at(c, c->queued++);
	frame->length = FRAME_HEADER_BYTES + body_len;
	frame->sleep_ms = type == FRAME_SLEEP ? htonl(load->opts.sleep_ms) : 0;
	frame->seed = load_random(load, 0) + load->random;
	frame->begun_us = load_now_us();
	for (uint32_t i = 0; i < body_len; i++)
		body[i] = body_byte(frame, i);
	frame_header(frame->header, type, body, body_len);
	load->outstanding++;
}

static void watch(struct load *load, struct load_client *c, bool wants_write)
{
	struct epoll_event event = {
		.events = EPOLLIN | (wants_write ? EPOLLOUT : 0),
		.data.ptr = c,
	};

	if (wants_write == c->wants_write)
		return;
	c->wants_write = wants_write;
	epoll_ctl(load->epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
}

/* Send what is queued, at most @limit bytes. */
static void send_queued(struct load *load, struct load_client *c, uint32_t limit)
{
	static uint8_t buf[65536];

	while (c->sent != c->queued && limit) {
		uint32_t len = 0, number = c->sent, offset = c->tx_offset;
		ssize_t n;

		while (number != c->queued && len < sizeof(buf) && len < limit) {
			const struct load_frame *frame = frame_at(c, number);

			buf[len++] = frame_byte(frame, offset++);
			if (offset == frame->length) {
				offset = 0;
				number++;
			}
		}
		n = send(c->fd, buf, len, MSG_NOSIGNAL);
		if (n < 0)
			break;	/* no room, or an end that the read will see */
		limit -= n;
		for (c->tx_offset += n; c->sent != c->queued &&
		     c->tx_offset >= frame_at(c, c->sent)->length; load->sent++)
			c->tx_offset -= frame_at(c, c->sent++)->length;
	}
	watch(load, c, c->sent != c->queued && !load->opts.slow_ms);
}

/* Compare with what is expected next. Returns false for any difference. */
static bool check_received(struct load *load, struct load_client *c, const uint8_t *data,
			   size_t len)
{
	for (size_t i = 0; i < len; i++) {
		bool is_sent = c->answered != c->sent ||
			       (c->answered != c->queued && c->rx_offset < c->tx_offset);
		const struct load_frame *frame;

		if (!is_sent)
			return false;
		frame = frame_at(c, c->answered);
		if (data[i] != frame_byte(frame, c->rx_offset++))
			return false;
		if (c->rx_offset < frame->length)
			continue;
		load_count_rtt(load, load_now_us() - frame->begun_us);
		load->answered++;
		load->outstanding--;
		c->answered++;
		c->rx_offset = 0;
	}
	return true;
}

void load_client_close(struct load *load, struct load_client *c)
{
	if (c->fd < 0)
		return;
	close(c->fd);
	c->fd = -1;
	if (c->is_connecting)
		load->connecting--;
	else
		load->open--;
	c->is_connecting = false;
	load->outstanding -= c->queued - c->answered;
	c->answered = c->sent = c->queued = 0;
	c->rx_offset = c->tx_offset = 0;
	free(c->frames);
	c->frames = NULL;
	c->n_frames = 0;
	if (sb_wheel_armed(&c->timer))
		sb_wheel_del(&load->wheel, &c->timer);
}

static void on_readable(struct load *load, struct load_client *c)
{
	static uint8_t buf[65536];
	ssize_t len = recv(c->fd, buf, sizeof(buf), 0);

	if (len < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (len <= 0) {
		load->closed_by_server++;
		load_client_close(load, c);
	} else if (!check_received(load, c, buf, len)) {
		load->mismatched++;
		load_client_close(load, c);
	}
}

static uint32_t byte_period_ms(const struct load *load)
{
	return load->opts.slow_ms - load->opts.slow_ms / 10;
}

/* Clients begin anywhere in their period, so that they do not march in step. */
static void arm_first(struct load *load, struct load_client *c, uint64_t now_ms)
{
	const struct load_opts *opts = &load->opts;

	c->beat_ms = c->echo_ms = c->abort_ms = SB_WHEEL_NEVER;
	if (opts->abort_after_ms)
		c->abort_ms = now_ms + opts->abort_after_ms;
	if (opts->slow_ms) {
		c->echo_ms = now_ms + load_random(load, byte_period_ms(load)) / 2;
	} else {
		if (opts->period_ms)
			c->beat_ms = now_ms + load_random(load, opts->period_ms);
		if (opts->sleep_ms)
			c->echo_ms = now_ms;
		else if (opts->echo_period_ms)
			c->echo_ms = now_ms + load_random(load, opts->echo_period_ms);
	}
}

static void arm(struct load *load, struct load_client *c)
{
	uint64_t due_ms = c->beat_ms < c->echo_ms ? c->beat_ms : c->echo_ms;

	if (c->abort_ms < due_ms)
		due_ms = c->abort_ms;
	if (due_ms != SB_WHEEL_NEVER)
		sb_wheel_add(&load->wheel, &c->timer, due_ms);
}

/* One byte; of a new frame when the last one is out. */
static void send_slow(struct load *load, struct load_client *c, uint64_t now_ms)
{
	if (c->sent == c->queued)
		queue_frame(load, c, FRAME_ECHO,
			    load->opts.echo_bytes ? load->opts.echo_bytes : SLOW_BYTES);
	send_queued(load, c, 1);
	c->echo_ms = now_ms + byte_period_ms(load);
}

static uint64_t next_beat(struct load *load, uint64_t last_ms)
{
	uint32_t jitter = load->opts.jitter_ms;

	return last_ms + load->opts.period_ms + load_random(load, 2 * jitter + 1) - jitter;
}

/* Go as a crashed client's machine does, when it comes back. */
static void reset(struct load *load, struct load_client *c)
{
	static const struct linger at_once = { .l_onoff = 1 };

	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	load->aborted++;
	load_client_close(load, c);
}

/* The client's timer came due; the wheel may be early, then it is set again. */
void load_client_timer(struct load *load, struct load_client *c)
{
	uint64_t now_ms = load_now_ms(load);

	if (load->stopped || load->finishing)
		return;
	if (c->abort_ms <= now_ms) {
		reset(load, c);
		return;
	}
	if (load->opts.slow_ms) {
		if (c->echo_ms <= now_ms)
			send_slow(load, c, now_ms);
		arm(load, c);
		return;
	}
	/* A load that is late does not catch up by a burst. */
	if (c->beat_ms <= now_ms) {
		queue_frame(load, c, FRAME_HEARTBEAT, 0);
		c->beat_ms = next_beat(load, c->beat_ms);
		if (c->beat_ms <= now_ms)
			c->beat_ms = now_ms + load->opts.period_ms;
	}
	if (c->echo_ms <= now_ms) {
		queue_frame(load, c, load->opts.sleep_ms ? FRAME_SLEEP : FRAME_ECHO,
			    load->opts.echo_bytes);
		c->echo_ms += load->opts.echo_period_ms;
		if (!load->opts.echo_period_ms)
			c->echo_ms = SB_WHEEL_NEVER;
		else if (c->echo_ms <= now_ms)
			c->echo_ms = now_ms + load->opts.echo_period_ms;
	}
	if (!c->wants_write)
		send_queued(load, c, UINT32_MAX);
	arm(load, c);
}

static void on_connected(struct load *load, struct load_client *c)
{
	socklen_t len = sizeof(int);
	int err = 0;

	getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len);
	if (err) {
		count_error(load, "connect", err);
		load_client_close(load, c);
		return;
	}
	c->is_connecting = false;
	load->connecting--;
	load->open++;
	load->connected++;
	watch(load, c, false);
	arm_first(load, c, load_now_ms(load));
	arm(load, c);
}

void load_client_event(struct load *load, struct load_client *c, uint32_t events)
{
	if (c->is_connecting) {
		on_connected(load, c);
		return;
	}
	if (events & EPOLLOUT)
		send_queued(load, c, UINT32_MAX);
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		on_readable(load, c);
}

void load_client_connect(struct load *load, struct load_client *c)
{
	const union address *to = &load->opts.connect;
	const union address *from = &load->opts.bind;
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT, .data.ptr = c };
	static const int on = 1;
	int fd;

	fd = socket(to->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		count_error(load, "socket", errno);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	/* Leaves the port to connect(), which knows more free ones. */
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
	if (from->sa.sa_family != AF_UNSPEC && bind(fd, &from->sa, address_len(from))) {
		count_error(load, "bind", errno);
		close(fd);
		return;
	}
	if ((connect(fd, &to->sa, address_len(to)) && errno != EINPROGRESS) ||
	    epoll_ctl(load->epoll_fd, EPOLL_CTL_ADD, fd, &event)) {
		count_error(load, "connect", errno);
		close(fd);
		return;
	}
	c->fd = fd;
	c->is_connecting = true;
	c->wants_write = true;
	load->connecting++;
}
