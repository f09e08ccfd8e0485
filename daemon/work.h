/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The worker pool: threads for requests that take time, shared by all reactors.
 *
 * A job names its client by handle and its reactor by number; no pointer to a
 * connection leaves the reactor.  Of one connection at most one job is with the
 * pool, the next ones wait in the connection's line, so a client's requests are
 * done in order and those of different clients at the same time.
 */
#ifndef SOCKBEAT_WORK_H
#define SOCKBEAT_WORK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct reactor;
struct work;

/**
 * struct job - a request, and later its answer
 * @link: place in the line of its connection, in the pool's queue, or among the
 *	  results of its reactor; whoever has it there owns it
 * @handle: the client
 * @reactor: number of the client's reactor
 * @run: what a worker does
 * @ms: for @run
 * @is_stale: the client had gone before a worker came to it
 * @len: bytes of @data
 * @data: the answer
 */
struct job {
	STAILQ_ENTRY(job) link;
	uint64_t handle;
	unsigned int reactor;
	void (*run)(struct work *work, struct job *job);
	uint32_t ms;
	bool is_stale;
	uint32_t len;
	uint8_t data[];
};

STAILQ_HEAD(job_list, job);

/**
 * struct work - the pool
 * @lock: protects @queue and @stop
 * @wake: there is a job in @queue, or @stop
 * @stopped: @stop, for jobs that wait for time to pass
 * @queue: jobs to do, oldest first
 * @stop: end
 * @max_waiting: limit of @waiting
 * @waiting: jobs that no worker has begun, in @queue and in all lines
 * @running: jobs that a worker is at
 * @reactors: by number
 * @n_reactors: number of them
 * @threads: the workers
 * @n_threads: number of them that run
 */
struct work {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	pthread_cond_t stopped;
	struct job_list queue;
	bool stop;
	unsigned int max_waiting;
	atomic_uint waiting;
	atomic_uint running;
	struct reactor **reactors;
	unsigned int n_reactors;
	pthread_t *threads;
	unsigned int n_threads;
};

int work_start(struct work *work, unsigned int n_threads, unsigned int max_waiting,
	       struct reactor **reactors, unsigned int n_reactors);
void work_stop(struct work *work);
bool work_reserve(struct work *work);
void work_forget(struct work *work, unsigned int n);
void work_submit(struct work *work, struct job *job);
void work_sleep(struct work *work, struct job *job);
unsigned int job_list_free(struct job_list *list);

#endif /* SOCKBEAT_WORK_H */
