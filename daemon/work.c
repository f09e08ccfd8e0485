// SPDX-License-Identifier: BSD-3-Clause
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "reactor.h"

/**
 * job_list_free - free the jobs of a list
 * @list: the list, empty afterwards
 *
 * Return: how many there were.
 */
unsigned int job_list_free(struct job_list *list)
{
	unsigned int n = 0;
	struct job *job;

	while ((job = STAILQ_FIRST(list))) {
		STAILQ_REMOVE_HEAD(list, link);
		free(job);
		n++;
	}
	return n;
}

/**
 * work_reserve - ask for room for one more job
 * @work: the pool
 *
 * Return: whether there is; the room is taken then.
 */
bool work_reserve(struct work *work)
{
	unsigned int waiting = atomic_load(&work->waiting);

	do {
		if (waiting >= work->max_waiting)
			return false;
	} while (!atomic_compare_exchange_weak(&work->waiting, &waiting, waiting + 1));
	return true;
}

/**
 * work_forget - give back the room of jobs that no worker will begin
 * @work: the pool
 * @n: how many
 */
void work_forget(struct work *work, unsigned int n)
{
	if (!n)
		return;
	atomic_fetch_sub(&work->waiting, n);
	/* Who wanted room asks again. */
	for (unsigned int i = 0; i < work->n_reactors; i++) {
		if (atomic_load(&work->reactors[i]->wants_room) &&
		    atomic_exchange(&work->reactors[i]->wants_room, false))
			reactor_wake(work->reactors[i]);
	}
}

/**
 * work_submit - have a job done
 * @work: the pool
 * @job: the job, for which room was reserved; the pool's from now on
 */
void work_submit(struct work *work, struct job *job)
{
	pthread_mutex_lock(&work->lock);
	STAILQ_INSERT_TAIL(&work->queue, job, link);
	pthread_cond_signal(&work->wake);
	pthread_mutex_unlock(&work->lock);
}

/**
 * work_sleep - the slow service: let @ms pass
 * @work: the pool; its end is the end of this too
 * @job: the job
 */
void work_sleep(struct work *work, struct job *job)
{
	struct timespec end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += job->ms / 1000;
	end.tv_nsec += job->ms % 1000 * 1000000L;
	if (end.tv_nsec >= 1000000000) {
		end.tv_sec++;
		end.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&work->lock);
	while (!work->stop &&
	       pthread_cond_timedwait(&work->stopped, &work->lock, &end) != ETIMEDOUT)
		;
	pthread_mutex_unlock(&work->lock);
}

/* The next job, or NULL at the end. */
static struct job *take(struct work *work)
{
	struct job *job;

	pthread_mutex_lock(&work->lock);
	while (!work->stop && STAILQ_EMPTY(&work->queue))
		pthread_cond_wait(&work->wake, &work->lock);
	job = work->stop ? NULL : STAILQ_FIRST(&work->queue);
	if (job)
		STAILQ_REMOVE_HEAD(&work->queue, link);
	pthread_mutex_unlock(&work->lock);
	return job;
}

/* While the reference is held the client's slot is nobody else's. */
static void do_job(struct work *work, struct job *job)
{
	struct reactor *r = work->reactors[job->reactor];
	uint64_t handle = job->handle;

	if (sockbeat_conn_get(r->sb, handle)) {
		job->is_stale = true;
		reactor_post(r, job);
		return;
	}
	job->run(work, job);
	/* Before the reactor has the result, or it might find the slot held. */
	sockbeat_conn_put(r->sb, handle);
	reactor_post(r, job);
}

static void *worker(void *arg)
{
	struct work *work = arg;
	struct job *job;

	while ((job = take(work))) {
		atomic_fetch_add(&work->running, 1);
		work_forget(work, 1);
		do_job(work, job);
		atomic_fetch_sub(&work->running, 1);
	}
	return NULL;
}

/**
 * work_start - make the pool and its threads
 * @work: the pool, zeroed; work_stop() is due if it has @threads afterwards
 * @n_threads: workers
 * @max_waiting: how many jobs may wait
 * @reactors: those that will submit jobs; they exist until work_stop()
 * @n_reactors: number of them
 *
 * Return: 0 or a negative errno.
 */
int work_start(struct work *work, unsigned int n_threads, unsigned int max_waiting,
	       struct reactor **reactors, unsigned int n_reactors)
{
	pthread_condattr_t monotonic;
	int err = 0;

	pthread_mutex_init(&work->lock, NULL);
	pthread_cond_init(&work->wake, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&work->stopped, &monotonic);
	pthread_condattr_destroy(&monotonic);
	STAILQ_INIT(&work->queue);
	work->max_waiting = max_waiting;
	work->reactors = reactors;
	work->n_reactors = n_reactors;
	work->threads = calloc(n_threads, sizeof(*work->threads));
	if (!work->threads)
		return -ENOMEM;	/* nothing else needs to be undone */
	while (!err && work->n_threads < n_threads) {
		err = pthread_create(&work->threads[work->n_threads], NULL, worker, work);
		work->n_threads += !err;
	}
	return -err;
}

/**
 * work_stop - end the workers; what they have begun is cut short
 * @work: the pool
 */
void work_stop(struct work *work)
{
	pthread_mutex_lock(&work->lock);
	work->stop = true;
	pthread_cond_broadcast(&work->wake);
	pthread_cond_broadcast(&work->stopped);
	pthread_mutex_unlock(&work->lock);
	for (unsigned int i = 0; i < work->n_threads; i++)
		pthread_join(work->threads[i], NULL);
	free(work->threads);
	job_list_free(&work->queue);
	pthread_cond_destroy(&work->stopped);
	pthread_cond_destroy(&work->wake);
	pthread_mutex_destroy(&work->lock);
}
