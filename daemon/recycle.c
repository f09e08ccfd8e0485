// SPDX-License-Identifier: BSD-3-Clause
/*
 * Delayed recycle on the library's side: references on handles, and slots that
 * references hold past the end of their quarantine.
 *
 * Each slot has a cell that any thread may change, one word with the generation
 * of its peer, what became of that, and the number of references.  To take or
 * drop one is one compare-and-swap on that word; no lock and no system call.
 * The engine is asked to hold a recycled slot, so that it comes back only
 * through us, and not before the last reference is gone: however late a worker
 * is, or this process as a whole.
 *
 * The generation grows with each peer of a slot, so a handle that is older than
 * the cell is stale.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine.h"

#define NO_SLOT		UINT32_MAX

/* Below the generation in a cell. */
#define OPEN		(1u << 31)	/* tracked: references may be taken */
#define HELD		(1u << 30)	/* quarantine over, references left */
#define QUEUED		(1u << 29)	/* on the list of released slots */
#define FREED		(1u << 28)	/* the slot is free again, or never was taken */
#define REFS		(FREED - 1)

/**
 * struct sb_ref - a slot's references
 * @cell: see above
 * @next: next released slot; written by who sets QUEUED
 * @over_ms: when the quarantine was over; the session's thread
 */
struct sb_ref {
	_Atomic uint64_t cell;
	uint32_t next;
	uint32_t over_ms;
};

static uint64_t cell_of(uint64_t handle, uint32_t bits)
{
	return (handle & ~(uint64_t)UINT32_MAX) | bits;
}

static bool is_of(uint64_t cell, uint64_t handle)
{
	return cell >> 32 == handle >> 32;
}

static struct sb_ref *ref_of(const struct sockbeat *sb, uint64_t handle)
{
	return sockbeat_index(handle) < sb->capacity ? &sb->refs.ref[sockbeat_index(handle)] :
						       NULL;
}

/**
 * sb_refs_open - make the cells, and the descriptor for sockbeat_fd()
 * @sb: a session that its engine has opened
 *
 * Return: 0 or a negative errno; sb_refs_close() is due in both cases.
 */
int sb_refs_open(struct sockbeat *sb)
{
	struct epoll_event event = { .events = EPOLLIN };
	struct sb_refs *refs = &sb->refs;
	void *map;

	refs->bytes = sb->capacity * sizeof(*refs->ref);
	/* Takes memory where it is used. */
	map = mmap(NULL, refs->bytes, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map != MAP_FAILED)
		refs->ref = map;
	refs->poll_fd = epoll_create1(EPOLL_CLOEXEC);
	refs->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!refs->ref || refs->poll_fd < 0 || refs->wake_fd < 0 ||
	    epoll_ctl(refs->poll_fd, EPOLL_CTL_ADD, refs->wake_fd, &event) ||
	    epoll_ctl(refs->poll_fd, EPOLL_CTL_ADD, sb->event_fd, &event))
		return sb_fail(sb, -errno, "session-new: references: %s", strerror(errno));
	atomic_store(&refs->released, NO_SLOT);
	refs->taken = NO_SLOT;
	return 0;
}

/**
 * sb_refs_init - say that there is nothing to close yet
 * @refs: zeroed
 */
void sb_refs_init(struct sb_refs *refs)
{
	refs->poll_fd = refs->wake_fd = -1;
}

/**
 * sb_refs_close - undo sb_refs_open()
 * @refs: as sb_refs_init() left it, or later
 */
void sb_refs_close(struct sb_refs *refs)
{
	if (refs->ref)
		munmap(refs->ref, refs->bytes);
	if (refs->poll_fd >= 0)
		close(refs->poll_fd);
	if (refs->wake_fd >= 0)
		close(refs->wake_fd);
}

/* The new owner of a slot, or none; what was said of the last one is void. */
static void set_cell(struct sockbeat *sb, uint64_t handle, uint32_t bits)
{
	struct sb_ref *ref = ref_of(sb, handle);
	uint64_t old;

	if (!ref)
		return;
	old = atomic_load_explicit(&ref->cell, memory_order_relaxed);
	if (old & HELD)
		sb->refs.held--;
	/* Generation 0 is of nobody. */
	sb->refs.used -= old >> 32 && !(old & FREED);
	sb->refs.used += !(bits & FREED);
	while (!atomic_compare_exchange_weak_explicit(&ref->cell, &old,
						      cell_of(handle, bits | (old & QUEUED)),
						      memory_order_acq_rel,
						      memory_order_relaxed))
		;
}

/**
 * sb_refs_add - let references be taken
 * @sb: the session
 * @handle: a peer that is tracked now
 */
void sb_refs_add(struct sockbeat *sb, uint64_t handle)
{
	set_cell(sb, handle, OPEN);
}

/**
 * sb_refs_forget - a slot was freed
 * @sb: the session
 * @handle: whose it was
 */
void sb_refs_forget(struct sockbeat *sb, uint64_t handle)
{
	struct sb_ref *ref = ref_of(sb, handle);

	if (ref && is_of(atomic_load_explicit(&ref->cell, memory_order_relaxed), handle))
		set_cell(sb, handle, FREED);
}

static int adopt_one(const struct sockbeat_info *info, void *sb)
{
	set_cell(sb, info->handle, info->state == SOCKBEAT_STATE_RECYCLING ? 0 : OPEN);
	return 0;
}

/**
 * sb_refs_adopt - learn the peers of a session that was adopted
 * @sb: the session
 *
 * Return: 0 or a negative errno.
 */
int sb_refs_adopt(struct sockbeat *sb)
{
	return sb->engine->list(sb, 0, adopt_one, sb);
}

/**
 * sb_refs_tracked - whether a handle may still be tracked
 * @sb: the session
 * @handle: any
 *
 * A peer that someone else added to the session is not known here.
 */
bool sb_refs_tracked(const struct sockbeat *sb, uint64_t handle)
{
	const struct sb_ref *ref = ref_of(sb, handle);
	uint64_t cell;

	if (!ref)
		return false;
	cell = atomic_load_explicit(&ref->cell, memory_order_relaxed);
	if (is_of(cell, handle))
		return cell & OPEN;
	return !(cell >> 32) || (int32_t)((handle >> 32) - (cell >> 32)) > 0;
}

/**
 * sockbeat_conn_get - take a reference on a peer
 * @sb: the session
 * @handle: the peer
 *
 * As long as the reference is held the peer's slot is given to no other, so no
 * other peer has this handle or this index. Any thread may call it.
 *
 * Return: 0; -ESTALE where the peer was recycled or deleted or never was, or
 * -EAGAIN where it has as many references as there can be.
 */
int sockbeat_conn_get(struct sockbeat *sb, uint64_t handle)
{
	struct sb_ref *ref = ref_of(sb, handle);
	uint64_t cell;

#ifdef SOCKBEAT_TEST_UNSAFE
	return 0;
#endif
	cell = ref ? atomic_load_explicit(&ref->cell, memory_order_relaxed) : 0;
	do {
		if (!is_of(cell, handle) || !(cell & OPEN)) {
			atomic_fetch_add_explicit(&sb->refs.stale, 1, memory_order_relaxed);
			return -ESTALE;
		}
		if ((cell & REFS) == REFS)
			return -EAGAIN;
	} while (!atomic_compare_exchange_weak_explicit(&ref->cell, &cell, cell + 1,
							memory_order_acquire,
							memory_order_relaxed));
	return 0;
}

/* Have the session's thread look at the released slots. */
static void wake(struct sockbeat *sb)
{
	uint64_t one = 1;

	/* Fails only when it is readable anyway. */
	if (write(sb->refs.wake_fd, &one, sizeof(one)) < 0)
		return;
}

static void release(struct sockbeat *sb, uint32_t index)
{
	struct sb_ref *ref = &sb->refs.ref[index];

	ref->next = atomic_load_explicit(&sb->refs.released, memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(&sb->refs.released, &ref->next, index,
						      memory_order_release,
						      memory_order_relaxed))
		;
	wake(sb);
}

/**
 * sockbeat_conn_put - drop a reference
 * @sb: the session
 * @handle: as given to sockbeat_conn_get()
 *
 * Any thread may call it. A system call is made only for the last reference on
 * a slot whose quarantine is over.
 */
void sockbeat_conn_put(struct sockbeat *sb, uint64_t handle)
{
	struct sb_ref *ref = ref_of(sb, handle);
	uint64_t cell, next;

#ifdef SOCKBEAT_TEST_UNSAFE
	return;
#endif
	if (!ref)
		return;
	cell = atomic_load_explicit(&ref->cell, memory_order_relaxed);
	do {
		/* sockbeat_del() forgets references. */
		if (!is_of(cell, handle) || !(cell & REFS))
			return;
		next = cell - 1;
		if ((next & HELD) && !(next & REFS))
			next |= QUEUED;
	} while (!atomic_compare_exchange_weak_explicit(&ref->cell, &cell, next,
							memory_order_acq_rel,
							memory_order_relaxed));
	if ((next & QUEUED) && !(cell & QUEUED))
		release(sb, sockbeat_index(handle));
}

/* Let no more references be taken; whether any could be before. */
static bool close_cell(struct sockbeat *sb, uint64_t handle, uint32_t *refs)
{
	struct sb_ref *ref = ref_of(sb, handle);
	uint64_t cell = ref ? atomic_load_explicit(&ref->cell, memory_order_relaxed) : 0;

	*refs = 0;
	while (is_of(cell, handle) && (cell & OPEN)) {
		if (atomic_compare_exchange_weak_explicit(&ref->cell, &cell,
							  cell & ~(uint64_t)OPEN,
							  memory_order_acq_rel,
							  memory_order_relaxed)) {
			*refs = cell & REFS;
			return true;
		}
	}
	return false;
}

/**
 * sb_refs_recycle - recycle some peers
 * @sb: the session
 * @peers: which; @error is set
 * @n: how many, at most SB_CHUNK
 * @how: how
 *
 * New references are refused first: what is left of them can only fall then.
 *
 * Return: 0 or an error that concerns the whole call.
 */
int sb_refs_recycle(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n,
		    const struct sb_retire *how)
{
	bool was_open[SB_CHUNK];
	uint32_t refs;
	size_t i;
	int err;

	for (i = 0; i < n; i++) {
		was_open[i] = close_cell(sb, peers[i].handle, &refs);
#ifndef SOCKBEAT_TEST_UNSAFE
		if (how->delay_ms || refs)
			peers[i].mask = SB_PEER_HOLD;
#endif
	}
	err = sb->engine->recycle(sb, peers, n, how);
	for (i = 0; i < n; i++) {
		bool failed = err || peers[i].error;

		/* Someone else may have retired it. */
		if (failed && was_open[i] && peers[i].error != -EALREADY &&
		    peers[i].error != -ENOENT)
			atomic_fetch_or(&sb->refs.ref[sockbeat_index(peers[i].handle)].cell, OPEN);
		else if (!failed && !(peers[i].mask & SB_PEER_HOLD))
			sb_refs_forget(sb, peers[i].handle);
	}
	return err;
}

/* Whether a slot whose quarantine is over can be freed; if not it is held. */
static bool may_free(struct sockbeat *sb, const struct sockbeat_event *event, uint32_t *refs)
{
	struct sb_ref *ref = &sb->refs.ref[sockbeat_index(event->handle)];
	uint64_t cell;

	/* Who shares the session may have retired the peer. */
	close_cell(sb, event->handle, refs);
	cell = atomic_load_explicit(&ref->cell, memory_order_acquire);
	do {
		*refs = is_of(cell, event->handle) ? cell & REFS : 0;
		if (!*refs)
			return true;
	} while (!(cell & HELD) &&
		 !atomic_compare_exchange_weak_explicit(&ref->cell, &cell, cell | HELD,
							memory_order_acq_rel,
							memory_order_acquire));
	if (!(cell & HELD)) {
		sb->refs.held++;
		sb->refs.held_total++;
		ref->over_ms = sb_now_ms() - event->late_ms;
	}
	return false;
}

/* Free the slots of @n events, and leave out those that could not be. */
static int free_slots(struct sockbeat *sb, struct sockbeat_event *events, int n)
{
	struct sockbeat_peer peers[SB_CHUNK];
	int i, j, m, kept = 0;

	for (i = 0; i < n; i += m) {
		m = n - i < SB_CHUNK ? n - i : SB_CHUNK;
		for (j = 0; j < m; j++)
			peers[j] = (struct sockbeat_peer){ .handle = events[i + j].handle };
		if (sb->engine->del(sb, peers, m))
			continue;
		for (j = 0; j < m; j++) {
			/* Who shares the session may have been quicker; for
			 * what failed otherwise the event comes again.
			 */
			if (peers[j].error && peers[j].error != -ENOENT)
				continue;
			sb_refs_forget(sb, peers[j].handle);
			events[kept++] = events[i + j];
		}
	}
	/* None of this is the caller's failure. */
	sb->error[0] = '\0';
	return kept;
}

/* What a released slot has to tell; false where it was freed otherwise. */
static bool released_event(struct sockbeat *sb, uint32_t index, struct sockbeat_event *event)
{
	struct sb_ref *ref = &sb->refs.ref[index];
	struct sockbeat_info info = { 0 };
	uint64_t cell = atomic_fetch_and(&ref->cell, ~(uint64_t)QUEUED);

	if (!(cell & HELD) || (cell & REFS))
		return false;
	*event = (struct sockbeat_event){
		.kind = SOCKBEAT_EVENT_KIND_RECYCLED,
		.handle = cell_of(cell, index),
		.late_ms = (uint32_t)(sb_now_ms() - ref->over_ms),
	};
	if (!sb->engine->get(sb, event->handle, &info))
		event->user_data = info.user_data;
	return true;
}

static void clear_wake(struct sockbeat *sb)
{
	uint64_t count;

	if (read(sb->refs.wake_fd, &count, sizeof(count)) < 0)
		return;
}

/**
 * sb_refs_released - free slots whose last reference has gone
 * @sb: the session
 * @events: filled in
 * @max: its length
 *
 * Return: the number of events.
 */
int sb_refs_released(struct sockbeat *sb, struct sockbeat_event *events, int max)
{
	struct sb_refs *refs = &sb->refs;
	uint32_t index;
	int n = 0;

	if (refs->taken == NO_SLOT) {
		clear_wake(sb);
		refs->taken = atomic_exchange_explicit(&refs->released, NO_SLOT,
						       memory_order_acquire);
	}
	while (refs->taken != NO_SLOT && n < max) {
		index = refs->taken;
		/* Before QUEUED goes: another thread may write it then. */
		refs->taken = refs->ref[index].next;
		n += released_event(sb, index, &events[n]);
	}
	/* The descriptor stays readable while some are left. */
	if (refs->taken != NO_SLOT)
		wake(sb);
	return free_slots(sb, events, n);
}

/* Whether an event is news to the caller. */
static bool is_news(const struct sockbeat *sb, const struct sockbeat_event *event)
{
	const struct sb_ref *ref = &sb->refs.ref[sockbeat_index(event->handle)];
	uint64_t cell = atomic_load_explicit(&ref->cell, memory_order_relaxed);

	/* What is of the session is. */
	if (!event->handle)
		return true;
	if (!is_of(cell, event->handle) || event->kind != SOCKBEAT_EVENT_KIND_RECYCLED)
		return sb_refs_tracked(sb, event->handle);
	return !(cell & FREED);
}

/**
 * sb_refs_filter - take out of an engine's events what does not concern the
 *		    caller, and free the slots whose quarantine is over
 * @sb: the session
 * @events: the events
 * @n: how many
 *
 * Return: how many are left.
 */
int sb_refs_filter(struct sockbeat *sb, struct sockbeat_event *events, int n)
{
	struct sockbeat_event over[SB_CHUNK];
	int i, kept = 0, n_over = 0;

	for (i = 0; i < n; i++) {
		struct sockbeat_event event = events[i];

		event.refs = 0;
		if (!is_news(sb, &event))
			continue;
		if (event.kind != SOCKBEAT_EVENT_KIND_RECYCLED ||
		    !may_free(sb, &event, &event.refs)) {
			events[kept++] = event;
			continue;
		}
		over[n_over++] = event;
		if (n_over < SB_CHUNK)
			continue;
		n_over = free_slots(sb, over, n_over);
		memcpy(&events[kept], over, n_over * sizeof(*over));
		kept += n_over;
		n_over = 0;
	}
	n_over = free_slots(sb, over, n_over);
	memcpy(&events[kept], over, n_over * sizeof(*over));
	return kept + n_over;
}

/**
 * sb_refs_stats - put what the engine counts and what we count together
 * @sb: the session
 * @stats: from the engine
 */
void sb_refs_stats(const struct sockbeat *sb, struct sockbeat_stats *stats)
{
	stats->held = sb->refs.held;
	stats->held_total = sb->refs.held_total;
	stats->stale = atomic_load_explicit(&sb->refs.stale, memory_order_relaxed);
}
