/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sockbeat-load: thousands of clients in one process.
 *
 * The server answers each frame by the same bytes, in order. So a client needs
 * no buffers: a queue of the frames it has begun to send says what to send next
 * and what to expect next, and a frame's body can be computed at any position.
 */
#ifndef SOCKBEAT_LOAD_H
#define SOCKBEAT_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "address.h"
#include "frame.h"
#include "wheel.h"

#define LOAD_HIST_SUB		16
#define LOAD_HIST_BUCKETS	(61 * LOAD_HIST_SUB)

struct load_opts {
	union address connect;
	union address bind;	/* AF_UNSPEC: the system's choice */
	uint32_t clients;
	uint32_t period_ms;		/* of heartbeats, 0: none */
	uint32_t jitter_ms;
	uint32_t echo_bytes;
	uint32_t echo_period_ms;	/* 0: none */
	uint32_t duration_ms;		/* 0: until SIGTERM or SIGINT */
	uint32_t slow_ms;		/* 0: send frames at once */
	uint32_t stop_after_ms;		/* 0: never */
	uint32_t sleep_ms;		/* 0: echo requests, else sleep requests */
	uint32_t abort_after_ms;	/* 0: never */
	uint32_t churn_per_s;
	bool json;
	bool report_ports;
	bool expect_close;
};

/**
 * struct load_frame - a frame that was begun and not answered yet
 * @header: its first bytes
 * @length: header and body
 * @seed: makes its body
 * @sleep_ms: how its body begins, in network byte order, for sleep requests
 * @begun_us: when it was queued
 */
struct load_frame {
	uint8_t header[FRAME_HEADER_BYTES];
	uint32_t sleep_ms;
	uint32_t length;
	uint32_t seed;
	uint64_t begun_us;
};

/**
 * struct load_client - one client
 * @timer: on the wheel for the next thing it does by itself
 * @fd: its socket, or -1
 * @is_connecting: connect() is under way
 * @wants_write: epoll watches for room to write
 * @frames: ring of @n_frames places, a power of two
 * @answered: frames answered whole; the next answer is to this one
 * @sent: frames sent whole; this one is sent next
 * @queued: frames ever queued
 * @rx_offset: bytes of frame @answered received
 * @tx_offset: bytes of frame @sent sent
 * @beat_ms: when the next heartbeat is due
 * @echo_ms: when the next echo or sleep request, or byte of a slow client, is due
 * @abort_ms: when the client resets its connection
 */
struct load_client {
	struct sb_wheel_node timer;
	int fd;
	bool is_connecting;
	bool wants_write;
	struct load_frame *frames;
	uint32_t n_frames;
	uint32_t answered, sent, queued;
	uint32_t rx_offset, tx_offset;
	uint64_t beat_ms, echo_ms, abort_ms;
};

/* What is counted: name in the structure and in the report. */
#define LOAD_COUNTERS(X)	\
	X(connected)		\
	X(sent)			\
	X(answered)		\
	X(mismatched)		\
	X(skipped)		\
	X(churned)		\
	X(aborted)		\
	X(closed_by_server)	\
	X(errors)

struct load {
	struct load_opts opts;
	struct load_client *clients;
	uint32_t begun;			/* clients whose first connect began */
	uint32_t connecting;
	uint32_t open;
	uint64_t outstanding;		/* queued and not answered, all clients */
	bool stopped;			/* neither send nor read */
	bool finishing;			/* begin nothing new */
	int epoll_fd;
	uint64_t start_us;
	struct sb_wheel wheel;		/* ticks: ms since start_us */
	uint32_t random;
	char first_error[160];
#define X(name) uint64_t name;
	LOAD_COUNTERS(X)
#undef X
	uint64_t hist[LOAD_HIST_BUCKETS];	/* answers by time in us */
	uint64_t rtt_max_us;
};

/* load_client.c */
void load_client_connect(struct load *load, struct load_client *c);
void load_client_event(struct load *load, struct load_client *c, uint32_t events);
void load_client_timer(struct load *load, struct load_client *c);
void load_client_close(struct load *load, struct load_client *c);
uint64_t load_now_us(void);
uint64_t load_now_ms(const struct load *load);
uint32_t load_random(struct load *load, uint32_t below);

/* load_report.c */
void load_count_rtt(struct load *load, uint64_t rtt_us);
int load_report_ready(const struct load *load);
int load_report_end(const struct load *load);

#endif /* SOCKBEAT_LOAD_H */
