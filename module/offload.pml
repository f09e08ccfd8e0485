/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who answers a heartbeat, as a model for spin(1): a client, an application
 * that says where it stands (daemon/offload.c), and the kernel that may answer
 * in its place (module/answer.c).  `selftests/model` searches all of it, and
 * again for each BREAK_ below, which is a fault that the search has to find.
 *
 * The client sends FRAMES frames: heartbeats of one byte, and requests of two,
 * which arrive, are read and are answered in halves.  The answers have an order.
 * Asserted: each answer is whole, and they come as their frames went.
 *
 * The socket's lock makes steps of TCP and of system calls whole; the stores to
 * the slot record, and the kernel's loads from it, come between them as they
 * like, each in its own order.
 */
#ifndef FRAMES
#define FRAMES	4
#endif

#define BYTES	(2 * FRAMES)

/* What a byte is: of a heartbeat, of a request, or nothing yet. */
mtype = { NONE, BEAT, FIRST, SECOND };

mtype sent[BYTES];	/* the stream that the client sends */
byte arrived;		/* TCP's rcv_nxt */
byte copied;		/* TCP's copied_seq */
byte written;		/* TCP's write_seq */
byte frames;		/* that the client has made */
bit half;		/* it owes the second byte of a request */

/* The kernel's bases and the process's record, as in the code. */
byte rx_base, tx_base;
byte rx, tx;

/* The application: bytes read, parsed and answered; answers that wait. */
byte app_read, app_written, app_done;
mtype seen[BYTES];
mtype queue[BYTES];
byte queued;

/* What went to the client, and the frame that it has to answer. */
byte out;		/* byte of @sent whose answer is next */

bit lock;		/* the socket's */

#define over()	(frames == FRAMES && !half && copied == arrived)

/* An answer's byte goes out: it has to be that of the next byte of the stream. */
inline emit(what)
{
	assert(sent[out] == what);
	out++;
	written++;
}

proctype client()
{
	do
	:: half -> atomic {
		sent[arrived] = SECOND;
		arrived++;
		half = 0;
	}
	:: !half && frames < FRAMES -> atomic {
		frames++;
		if
		:: sent[arrived] = BEAT
		:: sent[arrived] = FIRST; half = 1
		fi;
		arrived++;
	}
	:: !half && frames == FRAMES -> break
	od
}

/* sk_data_ready, or anything that has the same look at the socket later. */
proctype kernel()
{
	byte seen_rx, seen_tx, i;
	bit beats;

	do
	:: atomic { !lock && copied < arrived -> lock = 1 };
#ifdef BREAK_LOADS
		seen_tx = tx;
		seen_rx = rx;
#else
		seen_rx = rx;
		seen_tx = tx;
#endif
		atomic {
			beats = 1;
			i = copied;
			do
			:: i < arrived -> beats = beats && sent[i] == BEAT; i++
			:: else -> break
			od;
#ifndef BREAK_RX
			beats = beats && copied - rx_base == seen_rx;
#endif
#ifndef BREAK_TX
			beats = beats && written - tx_base == seen_tx;
#endif
			if
			:: beats ->
				do
				:: copied < arrived ->
					emit(BEAT);
					tx_base++;
					copied++;
					rx_base++
				:: else -> break
				od
			:: else
			fi;
			lock = 0
		}
	:: over() -> break
	od
}

/* Read some, parse, queue the answers, say so, write some of them. */
proctype application()
{
	byte i, wait;

	do
	:: atomic { !lock && copied < arrived -> seen[app_read] = sent[copied]; copied++; app_read++ }
	/* A whole frame has come: its answer waits. */
	:: atomic {
		app_done < app_read && (seen[app_done] == BEAT || app_done + 1 < app_read) ->
		queue[queued] = seen[app_done];
		queued++;
		app_done++;
		if
		:: queue[queued - 1] == FIRST ->
			queue[queued] = SECOND;
			queued++;
			app_done++
		:: else
		fi
	}
	/* sockbeat_conn_done() */
	:: tx != queued || rx != app_done ->
		atomic { i = app_done; wait = queued };
#ifdef BREAK_STORES
		rx = i;
		tx = wait;
#else
		tx = wait;
		rx = i;
#endif
	:: atomic { !lock && app_written < queued -> emit(queue[app_written]); app_written++ }
	:: over() && app_done == app_read && app_written == queued && tx == queued && rx == app_done -> break
	od
}

init {
	atomic {
		run client();
		run kernel();
		run application();
	}
	/* Everything was answered, by the one or the other. */
	_nr_pr == 1;
	assert(out == arrived);
}
