// SPDX-License-Identifier: BSD-3-Clause
/*
 * A reactor's side of the worker pool: what goes there, what comes back, and
 * what becomes of it when the client is gone.
 */
#include <stdlib.h>

#include "reactor.h"

/* For so long who is not read from may save up frames of max_frames_per_s. */
#define MAX_WAITED_MS	600000U	/* fits into 20 bits */

static void give(struct reactor *r, struct conn *c, struct job *job)
{
	c->has_job = true;
	work_submit(r->shared->work, job);
}

/**
 * jobs_submit - have a job done for a client, after those that it has already
 * @r: the client's reactor
 * @c: the client
 * @job: the job, for which room was reserved
 */
void jobs_submit(struct reactor *r, struct conn *c, struct job *job)
{
	job->handle = c->handle;
	job->reactor = r->index;
	job->is_stale = false;
	r->counters.jobs++;
	if (!c->has_job) {
		give(r, c, job);
		return;
	}
	STAILQ_INSERT_TAIL(&c->line, job, link);
	c->n_line++;
}

static void stall(struct reactor *r, struct conn *c)
{
	c->is_stalled = true;
	c->stall_ms = reactor_now_ms();
	reactor_watch(r, c);
}

/**
 * jobs_line_full - whether a client has to wait for its own jobs
 * @r: the client's reactor
 * @c: the client; it is stalled if so
 *
 * However many workers there are, its jobs are done one after the other: they
 * must not take the room of others.
 */
bool jobs_line_full(struct reactor *r, struct conn *c)
{
	if (c->n_line < r->config->max_client_jobs)
		return false;
	c->is_line_full = true;
	stall(r, c);
	return true;
}

/**
 * jobs_stall - read no more from a client until a job has found room
 * @r: the client's reactor
 * @c: the client
 */
void jobs_stall(struct reactor *r, struct conn *c)
{
	begun_stop(r, c);
	TAILQ_INSERT_TAIL(&r->stalled, c, stalled);
	stall(r, c);
	atomic_store(&r->wants_room, true);
	/* A worker that made room just before that did not see it. */
	if (atomic_load(&r->shared->work->waiting) < r->config->work_queue)
		reactor_wake(r);
}

static enum conn_state resume(struct reactor *r, struct conn *c)
{
	uint32_t now_ms = reactor_now_ms();
	enum conn_state state;

	/* Where nothing lies unread, nothing was sent that is not counted. */
	if (!reactor_unread_bytes(c))
		c->waited_ms = 0;
	else if (now_ms - c->stall_ms < MAX_WAITED_MS - c->waited_ms)
		c->waited_ms += now_ms - c->stall_ms;
	else
		c->waited_ms = MAX_WAITED_MS;
	c->stall_ms = now_ms;
	c->was_stalled = true;
	c->is_stalled = false;
	c->is_line_full = false;
	state = conn_feed_kept(r, c);
	if (state == CONN_CLOSED || !r->draining)
		return state;
	return drain_check(r, c) ? CONN_CLOSED : state;
}

/**
 * jobs_resume - let stalled clients ask again, as long as there is room
 * @r: the reactor
 */
void jobs_resume(struct reactor *r)
{
	struct conn *c;

	/* Before the look: who stalls again says so again. */
	atomic_store(&r->wants_room, false);
	r->resuming = true;
	while ((c = TAILQ_FIRST(&r->stalled))) {
		uint32_t kept = c->in ? c->in->end : 0;

		TAILQ_REMOVE(&r->stalled, c, stalled);
		if (resume(r, c) == CONN_CLOSED || !c->is_stalled || c->is_line_full)
			continue;
		/* There is no room for anyone: it keeps its place. */
		if (c->in && c->in->end == kept) {
			TAILQ_REMOVE(&r->stalled, c, stalled);
			TAILQ_INSERT_HEAD(&r->stalled, c, stalled);
			break;
		}
	}
	r->resuming = false;
}

/**
 * jobs_close - drop what no worker has begun for a client that goes
 * @r: the client's reactor
 * @c: the client
 */
void jobs_close(struct reactor *r, struct conn *c)
{
	unsigned int n = job_list_free(&c->line);

	r->counters.jobs_dropped += n;
	work_forget(r->shared->work, n);
	if (c->is_stalled && !c->is_line_full)
		TAILQ_REMOVE(&r->stalled, c, stalled);
}

/**
 * reactor_post - give a job back to its reactor
 * @r: the reactor
 * @job: the job
 *
 * For workers.
 */
void reactor_post(struct reactor *r, struct job *job)
{
	bool was_empty;

	pthread_mutex_lock(&r->results_lock);
	was_empty = STAILQ_EMPTY(&r->results);
	STAILQ_INSERT_TAIL(&r->results, job, link);
	pthread_mutex_unlock(&r->results_lock);
	if (was_empty)
		reactor_wake(r);
}

/* The client that a result is for. To go by the slot alone is what this whole
 * machinery prevents; a test shows what happens then.
 */
static struct conn *client_of(struct reactor *r, const struct job *job)
{
#ifdef SOCKBEAT_TEST_UNSAFE
	return reactor_in_slot(r, job->handle);
#endif
	return reactor_find(r, job->handle);
}

/* A result for a client that is still there. */
static void answer(struct reactor *r, struct conn *c, const struct job *job)
{
	struct job *next = STAILQ_FIRST(&c->line);
	int err;

	r->counters.jobs_done++;
	c->has_job = false;
	if (next) {
		STAILQ_REMOVE_HEAD(&c->line, link);
		c->n_line--;
		give(r, c, next);
	}
	err = conn_send(r, c, job->data, job->len);
	if (err)
		reactor_close(r, c, -err);
	else if (c->is_line_full)
		resume(r, c);
	else if (r->draining)
		drain_check(r, c);
	else if (c->at_end && conn_is_idle(c))
		reactor_close(r, c, c->end_cause);
}

/**
 * jobs_results - answer clients by what the workers have done
 * @r: the reactor
 *
 * A result for a client that is gone is counted and goes to nobody.
 */
void jobs_results(struct reactor *r)
{
	struct job_list results = STAILQ_HEAD_INITIALIZER(results);
	struct conn *c;
	struct job *job;

	pthread_mutex_lock(&r->results_lock);
	STAILQ_CONCAT(&results, &r->results);
	pthread_mutex_unlock(&r->results_lock);
	STAILQ_FOREACH(job, &results, link) {
		c = client_of(r, job);
		if (job->is_stale)
			r->counters.jobs_stale++;
		else if (c)
			answer(r, c, job);
		else if (reactor_in_slot(r, job->handle))
			r->counters.results_reused++;
		else
			r->counters.results_closed++;
	}
	job_list_free(&results);
}
