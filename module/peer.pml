/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The life of a peer as a model for spin(1): the states of module/peer.c, heard.c and
 * the references of daemon/recycle.c, with everything that runs at the same
 * time.  `selftests/model` searches all of it, with hold and without (PLAIN),
 * and again for each BREAK_ below, which is a fault that the search has to find.
 *
 * A step of the model is what the code does under one hold of session->lock,
 * or with one atomic instruction.  Time is left out: what is on the wheel may
 * come due at any moment.
 */
#ifndef SLOTS
#define SLOTS	2
#endif
#ifndef PEERS
#define PEERS	3	/* more than slots: some are used again */
#endif
#ifndef WORKERS
#define WORKERS	2
#endif

mtype = { FREE, LIVE, SILENT, GONE, RECYCLING };
mtype = { NOTHING, TELL_SILENT, TELL_HEARD, TELL_GONE, TELL_RECYCLED };

/* struct sb_slot and struct sb_peer */
typedef slot_t {
	mtype state = FREE;
	mtype pending = NOTHING;
	byte generation;
	byte peer;		/* who it is; the code has no such number */
	bit armed;		/* on the wheel */
	bit sending;
	bit told;
	bit hold;
};

/* struct ref of the library */
typedef cell_t {
	byte generation;
	byte refs;
	bit open;
	bit held;
};

slot_t slot[SLOTS];
cell_t cell[SLOTS];
byte fresh;
byte added;
chan free = [SLOTS] of { byte };			/* oldest first */
chan buffer = [1] of { mtype, byte, byte };		/* the receive buffer */
chan released = [SLOTS] of { byte, byte };		/* by the last put */
byte handle_slot[PEERS + 1], handle_generation[PEERS + 1];
byte work_peer[WORKERS + 1];	/* for whom a worker holds a reference */
byte freed[PEERS + 1];		/* how often a peer's slot was freed */
bit may_die = 1;
bit alive = 1;

/* What keeps a peer from being forgotten, in each state. */
inline sane(i)
{
	assert(slot[i].state != FREE || (!slot[i].armed && slot[i].pending == NOTHING));
	assert(slot[i].state != LIVE || slot[i].armed);
	assert(slot[i].state != SILENT || slot[i].armed || slot[i].pending == TELL_SILENT);
	assert(slot[i].state != GONE || slot[i].armed || slot[i].pending == TELL_GONE);
	assert(slot[i].state != RECYCLING || slot[i].armed || slot[i].pending == TELL_RECYCLED)
}

inline drop(i)
{
	slot[i].pending = NOTHING;
	slot[i].sending = 0
}

inline push(i, what)
{
	slot[i].pending = what;
	slot[i].sending = 0
}

inline leave(i)
{
	drop(i);
	slot[i].armed = 0;
	slot[i].state = FREE;
	freed[slot[i].peer]++;
	assert(freed[slot[i].peer] == 1);
	free!i
}

#define names(i, g)	(slot[i].state != FREE && slot[i].generation == g)

/* sb_recycle_begin() */
inline recycle(i, g)
{
	if
	:: names(i, g) && slot[i].state != RECYCLING ->
		drop(i);
		slot[i].told = 0;
#if defined(PLAIN) || defined(BREAK_HOLD)
		slot[i].hold = 0;
#else
		slot[i].hold = 1;
#endif
		slot[i].state = RECYCLING;
		slot[i].armed = 1;
		sane(i)
	:: else
	fi
}

/* sb_peer_untrack() */
inline delete(i, g)
{
	if
#ifdef BREAK_LOOKUP
	:: slot[i].state != FREE ->
#else
	:: names(i, g) ->
#endif
		assert(handle_generation[slot[i].peer] == g);
		leave(i)
	:: else
	fi
}

/* sb_slot_take(): who gets a slot must be alone with it. */
inline take(i)
{
	added++;
#ifndef BREAK_GENERATION
	slot[i].generation++;
#endif
	if
	:: slot[i].generation == 0 -> slot[i].generation = 1
	:: else
	fi;
	slot[i].peer = added;
	slot[i].state = LIVE;
	slot[i].armed = 1;
	slot[i].told = 0;
	slot[i].hold = 0;
	handle_slot[added] = i;
	handle_generation[added] = slot[i].generation;
	for (k : 1 .. added - 1) {
		assert(handle_slot[k] != i || handle_generation[k] != slot[i].generation)
	}
	for (k : 0 .. WORKERS - 1) {
		assert(work_peer[k] == 0 || handle_slot[work_peer[k]] != i)
	}
	sane(i)
}

/* sb_peer_revive() */
inline revive(i)
{
	slot[i].state = LIVE;
	slot[i].armed = 1;
	if
	:: slot[i].told || slot[i].sending -> push(i, TELL_HEARD)
	:: else -> drop(i)
	fi
}

/* sb_peer_check(): anything on the wheel may be due. */
inline check(i)
{
	slot[i].armed = 0;
	if
	:: slot[i].state == LIVE -> slot[i].armed = 1
	:: slot[i].state == LIVE ->
		slot[i].state = SILENT;
		push(i, TELL_SILENT)
	:: slot[i].state == SILENT -> push(i, TELL_SILENT)
	:: slot[i].state == SILENT -> revive(i)
	:: slot[i].state == GONE -> push(i, TELL_GONE)
	:: slot[i].state == RECYCLING -> push(i, TELL_RECYCLED)
	fi;
	sane(i)
}

active proctype wheel()
{
end:	do
	:: atomic { slot[0].armed -> check(0) }
#if SLOTS > 1
	:: atomic { slot[1].armed -> check(1) }
#endif
	od
}

/* sb_hook_state() */
#define has_socket(i)	(slot[i].state == LIVE || slot[i].state == SILENT)

inline gone(i)
{
	slot[i].state = GONE;
	slot[i].armed = 0;
	push(i, TELL_GONE);
	sane(i)
}

active proctype tcp()
{
end:	do
	:: atomic { has_socket(0) -> gone(0) }
#if SLOTS > 1
	:: atomic { has_socket(1) -> gone(1) }
#endif
	od
}

/* sb_event_delivered() */
inline delivered(i)
{
	assert(slot[i].pending == what);
	if
	:: slot[i].state == RECYCLING && !slot[i].hold -> leave(i)
	:: slot[i].state == RECYCLING && slot[i].hold ->
		drop(i);
		slot[i].told = 1;
		slot[i].armed = 1
	:: else ->
		slot[i].told = (slot[i].pending == TELL_SILENT);
		drop(i);
		slot[i].armed = 1
	fi
}

/* sb_event_flush(): the lock is dropped while a message is sent. */
active proctype events()
{
	byte i, g;
	mtype what;
	bit sent;

#define wanted(i)	(slot[i].pending != NOTHING && alive && len(buffer) == 0)
end:	do
	:: atomic {
		if
		:: wanted(0) -> i = 0
#if SLOTS > 1
		:: wanted(1) -> i = 1
#endif
		fi;
		what = slot[i].pending;
		g = slot[i].generation;
		slot[i].sending = 1
	};
	   atomic {
		if
		:: alive && len(buffer) == 0 -> buffer!what, i, g; sent = 1
		:: else -> sent = 0
		fi
	};
	   /* sb_event_settle() */
	   atomic {
		if
#ifdef BREAK_SETTLE
		:: sent && slot[i].state != FREE -> delivered(i)
#else
		:: names(i, g) && slot[i].sending ->
			slot[i].sending = 0;
			if
			:: sent -> delivered(i)
			:: else
			fi
		:: names(i, g) && !slot[i].sending && slot[i].pending == TELL_HEARD ->
			if
			:: sent -> slot[i].told = 1
			:: !sent && !slot[i].told -> drop(i)
			:: else
			fi
#endif
		:: else
		fi;
		sane(i);
		i = 0; g = 0; what = 0; sent = 0
	}
	od
}

/* sockbeat_recycle(): no new references first, then the request. */
inline close_cell(p)
{
#ifndef BREAK_CLOSE
	if
	:: cell[handle_slot[p]].generation == handle_generation[p] ->
		cell[handle_slot[p]].open = 0
	:: else
	fi
#else
	skip
#endif
}

/* sockbeat_events() for RECYCLED: free the slot, or leave that to the last
 * reference.
 */
inline over(i, g)
{
	if
	:: cell[i].generation == g && cell[i].refs > 0 ->
#ifndef BREAK_HELD
		cell[i].held = 1
#else
		delete(i, g)
#endif
	:: else -> delete(i, g)
	fi
}

/* Which peer has this name; every name is of one. */
inline find(i, g)
{
	p = 1;
	do
	:: p <= added && (handle_slot[p] != i || handle_generation[p] != g) -> p++
	:: else -> break
	od
}

/* Threads, references and what lay in the buffer are gone. */
inline die()
{
	may_die = 0;
	alive = 0;
	do
	:: len(buffer) > 0 -> buffer?what, i, g
	:: else -> break
	od;
	do
	:: len(released) > 0 -> released?i, g
	:: else -> break
	od;
	for (k : 0 .. WORKERS - 1) {
		work_peer[k] = 0
	}
	for (k : 0 .. SLOTS - 1) {
		cell[k].refs = 0;
		cell[k].held = 0;
		cell[k].open = 0
	}
	forget()
}

/* The successor knows what sockbeat_adopt() lists. */
inline adopt()
{
	for (k : 0 .. SLOTS - 1) {
		cell[k].generation = slot[k].generation;
		cell[k].open = (slot[k].state != FREE && slot[k].state != RECYCLING)
	}
	alive = 1;
	forget()
}

/* What is not needed any more must not tell states apart. */
inline forget()
{
	i = 0; g = 0; p = 0; k = 0; what = 0
}

/* The session's thread. It dies once, and another process takes over. */
active proctype owner()
{
	byte i, g, p, k;
	mtype what;

	do
	/* sockbeat_add(): the reference's cell follows the request. */
	:: atomic { added < PEERS && (fresh < SLOTS || len(free) > 0) ->
		if
		:: fresh < SLOTS -> i = fresh; fresh++
		:: else -> free?i
		fi;
		take(i);
		k = 0 };
	   atomic {
		cell[i].generation = slot[i].generation;
		cell[i].refs = 0;
		cell[i].held = 0;
		cell[i].open = 1;
		forget() }
	/* A client leaves. */
	:: atomic { added > 0 ->
		select(p : 1 .. added);
		close_cell(p) };
	   atomic {
		recycle(handle_slot[p], handle_generation[p]);
		forget() }
	:: atomic { buffer?what, i, g ->
		if
		:: what == TELL_RECYCLED -> over(i, g); forget()
		:: what == TELL_HEARD -> forget()
		:: else -> find(i, g); close_cell(p)
		fi };
	   atomic {
		if
		:: p -> recycle(i, g); forget()
		:: else
		fi }
	:: atomic { released?i, g -> delete(i, g); forget() }
	:: atomic { may_die -> die() };
	   atomic { adopt() }
	:: added == PEERS -> break
	od;

	/* All leave; then there is nothing to do but to take events. */
	for (p : 1 .. PEERS) {
		atomic { close_cell(p) };
		atomic { recycle(handle_slot[p], handle_generation[p]) }
	}
	p = 0;
end:	do
	:: atomic { buffer?what, i, g ->
		if
		:: what == TELL_RECYCLED -> over(i, g)
		:: else
		fi;
		forget() }
	:: atomic { released?i, g -> delete(i, g); forget() }
	od
}

/* sockbeat_conn_get() */
inline get(p)
{
	if
	:: alive && cell[handle_slot[p]].open &&
#ifndef BREAK_STALE
	   cell[handle_slot[p]].generation == handle_generation[p] &&
#endif
	   true ->
		cell[handle_slot[p]].refs++;
		work_peer[me] = p;
		assert(slot[handle_slot[p]].peer == p)
	:: else -> p = 0
	fi
}

/* sockbeat_conn_put(), unless the process died meanwhile */
inline put(p)
{
	if
	:: work_peer[me] == p && p ->
		assert(slot[handle_slot[p]].peer == p);
		work_peer[me] = 0;
		cell[handle_slot[p]].refs--;
		if
		:: cell[handle_slot[p]].refs == 0 && cell[handle_slot[p]].held ->
			cell[handle_slot[p]].held = 0;
			released!handle_slot[p], handle_generation[p]
		:: else
		fi
	:: else
	fi;
	p = 0
}

/* A worker has a job for any peer that there ever was. */
proctype worker(byte me)
{
	byte p;

	do
	:: atomic { added > 0 ->
		select(p : 1 .. added);
		get(p) };
	   atomic { put(p) }
	:: break
	od
}

init {
	byte n;

	atomic {
		for (n : 0 .. WORKERS - 1) {
			run worker(n)
		};
		n = 0
	}
}

/* When nothing can move any more nobody is forgotten and no slot is lost. */
active proctype quiescence()
{
	byte i;

	timeout ->
	for (i : 0 .. SLOTS - 1) {
		assert(slot[i].state == FREE);
		assert(cell[i].refs == 0)
	}
	for (i : 1 .. PEERS) {
		assert(freed[i] == 1)
	}
	assert(len(free) == SLOTS)
}
