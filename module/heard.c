// SPDX-License-Identifier: GPL-2.0-only
/*
 * When a peer was heard, and what it means that it was not.
 *
 * Nothing happens when a peer is heard.  TCP notes the time of the last
 * payload in any case and the application may write a stamp to the slot page;
 * both are read here when a bucket of the wheel comes due.
 */
#include <net/inet_connection_sock.h>
#include <net/tcp.h>

#include "sockbeat.h"
#include "trace.h"

static struct sb_adapt_conf sb_peer_adapt_conf(const struct sb_peer *peer)
{
	return (struct sb_adapt_conf){
		.beats = peer->policy.adaptive_beats,
		.min_ms = peer->session->adaptive_min_ms,
		.max_ms = peer->policy.timeout_ms,
	};
}

/**
 * sb_peer_rhythm - the rhythm in which a peer is heard
 * @peer: the peer
 *
 * Context: session->lock held.
 */
struct sb_adapt sb_peer_rhythm(const struct sb_peer *peer)
{
	return (struct sb_adapt){
		.interval_ms = peer->interval_ms,
		.deviation_ms = peer->deviation_ms,
		.samples = peer->samples,
	};
}

/**
 * sb_peer_limit_ms - the silence after which a peer is reported
 * @peer: the peer
 *
 * Context: session->lock held.
 */
u32 sb_peer_limit_ms(const struct sb_peer *peer)
{
	struct sb_adapt_conf conf = sb_peer_adapt_conf(peer);
	struct sb_adapt rhythm = sb_peer_rhythm(peer);

	return conf.beats ? sb_adapt_timeout_ms(&rhythm, &conf) : conf.max_ms;
}

static void sb_peer_beat(struct sb_peer *peer, u64 gap_ms)
{
	struct sb_adapt_conf conf = sb_peer_adapt_conf(peer);
	struct sb_adapt rhythm = sb_peer_rhythm(peer);

	if (!conf.beats)
		return;
	sb_adapt_heard(&rhythm, &conf, gap_ms);
	peer->interval_ms = rhythm.interval_ms;
	peer->deviation_ms = rhythm.deviation_ms;
	peer->samples = rhythm.samples;
}

/* The silence that is worth a warning, the whole limit where none is. */
static u32 sb_peer_suspect_ms(const struct sb_peer *peer)
{
	u32 limit_ms = sb_peer_limit_ms(peer);

	if (!peer->policy.suspect_percent)
		return limit_ms;
	return div_u64((u64)limit_ms * peer->policy.suspect_percent, 100);
}

/**
 * sb_peer_arm - put a live peer where there is something to be seen of it first
 * @peer: the peer
 * @now_ms: sb_now_ms()
 *
 * Context: session->lock held.
 */
void sb_peer_arm(struct sb_peer *peer, u64 now_ms)
{
	struct sb_adapt_conf conf = sb_peer_adapt_conf(peer);
	struct sb_adapt rhythm = sb_peer_rhythm(peer);
	u64 when_ms;

	when_ms = peer->heard_ms + (peer->suspect ? sb_peer_limit_ms(peer) :
						    sb_peer_suspect_ms(peer));
	if (conf.beats)
		when_ms = min(when_ms, sb_adapt_look_ms(&rhythm, &conf,
							peer->heard_ms, now_ms));
	if (peer->offload)
		when_ms = min(when_ms, sb_offload_probe_ms(peer));
	sb_peer_disarm(peer);
	sb_session_arm(peer->session, peer, when_ms);
}

/**
 * sb_peer_await - have a peer that is not live looked at
 * @peer: the peer
 * @when_ms: when its holder is to be told again, U64_MAX for never
 *
 * Context: session->lock held.
 */
void sb_peer_await(struct sb_peer *peer, u64 when_ms)
{
	if (peer->state == SOCKBEAT_STATE_SILENT)
		when_ms = min(when_ms, sb_act_due_ms(peer));
	sb_peer_disarm(peer);
	if (when_ms != U64_MAX)
		sb_session_arm(peer->session, peer, when_ms);
}

/* The time of an event that the kernel noted in jiffies.  They cut off what is
 * less than their unit, so the end of the unit is taken: a peer is never called
 * silent early.
 */
static u64 sb_heard_at_ms(u32 when, u64 now_ms)
{
	/* Either counter may be read a tick before the other. */
	s32 idle = max_t(s32, tcp_jiffies32 - when, 0);
	u64 heard_ms = now_ms + jiffies_to_msecs(1);

	return heard_ms - min_t(u64, heard_ms, jiffies_to_msecs(idle));
}

/**
 * struct sb_news - what TCP, the slot page and offload know of a peer by now
 * @heard_ms: when it was heard last
 * @lrcvtime: TCP's time of its last payload
 * @is_taken: the kernel took heartbeats since the last look
 * @taken: when that was
 * @is_bad: its stamp lies in the future
 */
struct sb_news {
	u64 heard_ms;
	u32 lrcvtime;
	bool is_taken;
	u32 taken;
	bool is_bad;
};

static void sb_peer_news(const struct sb_peer *peer, u64 now_ms, struct sb_news *news)
{
	u64 beat_ms;

	news->heard_ms = peer->heard_ms;
	news->lrcvtime = peer->lrcvtime;
	news->is_taken = false;
	news->is_bad = false;
	if (peer->policy.source != SOCKBEAT_SOURCE_BEAT && peer->sk) {
		news->lrcvtime = READ_ONCE(inet_csk(peer->sk)->icsk_ack.lrcvtime);
		/* A changed value is recent: every peer is looked at more
		 * often than these 32 bits wrap.
		 */
		if (news->lrcvtime != peer->lrcvtime)
			news->heard_ms = max(news->heard_ms,
					     sb_heard_at_ms(news->lrcvtime, now_ms));
	}
	if (peer->policy.source != SOCKBEAT_SOURCE_ACTIVITY) {
		/* The application cannot write a stamp for what it never saw. */
		news->is_taken = sb_offload_heard(peer, &news->taken);
		if (news->is_taken)
			news->heard_ms = max(news->heard_ms,
					     sb_heard_at_ms(news->taken, now_ms));
		beat_ms = sb_session_stamp(peer->session, peer->index);
		news->is_bad = beat_ms > now_ms;
		if (beat_ms && !news->is_bad)
			news->heard_ms = max(news->heard_ms, beat_ms + 1);
	}
}

/**
 * sb_peer_listen - take in what TCP, the slot page and offload know by now
 * @peer: a peer that is not in quarantine
 * @now_ms: sb_now_ms()
 *
 * Context: session->lock held.
 */
void sb_peer_listen(struct sb_peer *peer, u64 now_ms)
{
	u64 before_ms = peer->heard_ms;
	struct sb_news news;

	sb_peer_news(peer, now_ms, &news);
	peer->lrcvtime = news.lrcvtime;
	if (news.is_taken)
		sb_offload_see(peer, news.taken);
	peer->session->stats.bad_stamps += news.is_bad;
	peer->heard_ms = news.heard_ms;
	if (peer->heard_ms != before_ms)
		sb_peer_beat(peer, peer->heard_ms - before_ms);
}

static u64 sb_idle_ms(u64 heard_ms, u64 now_ms)
{
	return now_ms > heard_ms ? now_ms - heard_ms : 0;
}

static u64 sb_peer_idle_ms(struct sb_peer *peer, u64 now_ms)
{
	sb_peer_listen(peer, now_ms);
	return sb_idle_ms(peer->heard_ms, now_ms);
}

/**
 * sb_peer_peek_ms - time since a peer was last heard, for those who only look
 * @peer: a peer that is not in quarantine
 * @now_ms: sb_now_ms()
 *
 * Nothing is taken in: looks that come as often as somebody likes would make
 * another rhythm of the same heartbeats.
 *
 * Context: session->lock held.
 */
u64 sb_peer_peek_ms(const struct sb_peer *peer, u64 now_ms)
{
	struct sb_news news;

	sb_peer_news(peer, now_ms, &news);
	return sb_idle_ms(news.heard_ms, now_ms);
}

/* Who was never told of a silence is not told of its end either; a message
 * under way counts as told.
 */
static void sb_peer_tell_heard(struct sb_peer *peer)
{
	if (peer->told || peer->sending)
		sb_event_push(peer, SB_TELL_HEARD);
	else
		sb_event_drop(peer);
}

/**
 * sb_peer_again_ms - when a silent peer is to be looked at again
 * @peer: a peer whose silence was told
 * @now_ms: sb_now_ms()
 *
 * Context: session->lock held.
 */
u64 sb_peer_again_ms(const struct sb_peer *peer, u64 now_ms)
{
	u32 again_ms = peer->policy.renotify_ms;

	/* Who is told once is looked at for its return only. */
	if (peer->policy.trigger == SOCKBEAT_TRIGGER_EDGE)
		again_ms = sb_peer_limit_ms(peer);
	/* A look is a try, too, to end whom the last one gave time to be heard. */
	if (peer->state == SOCKBEAT_STATE_SILENT && peer->deferred)
		again_ms = max_t(u32, again_ms, SB_ACT_RETRY_MS);
	return now_ms + again_ms;
}

/**
 * sb_peer_revive - make a silent peer live again if it has been heard
 * @peer: a peer in state SILENT
 * @now_ms: sb_now_ms()
 *
 * Context: session->lock held.
 * Return: whether it was.
 */
bool sb_peer_revive(struct sb_peer *peer, u64 now_ms)
{
	struct sb_session *session = peer->session;
	u64 idle_ms;

	lockdep_assert_held(&session->lock);

	/* First, as it may change the limit. */
	idle_ms = sb_peer_idle_ms(peer, now_ms);
	if (idle_ms >= sb_peer_limit_ms(peer))
		return false;
	sb_peer_become(peer, SOCKBEAT_STATE_LIVE);
	session->stats.recoveries++;
	peer->acting = false;
	peer->acted = SOCKBEAT_ACTION_NOTIFY;
	peer->shut_out = false;
	peer->deferred = false;
	sb_peer_tell_heard(peer);
	sb_peer_arm(peer, now_ms);
	return true;
}

/**
 * sb_peer_clear - take the suspicion from a live peer if it has been heard
 * @peer: a suspect peer
 * @now_ms: sb_now_ms()
 *
 * Context: session->lock held.
 * Return: whether it was.
 */
bool sb_peer_clear(struct sb_peer *peer, u64 now_ms)
{
	u64 idle_ms = sb_peer_idle_ms(peer, now_ms);

	if (peer->policy.suspect_percent && idle_ms >= sb_peer_suspect_ms(peer))
		return false;
	peer->suspect = false;
	sb_peer_tell_heard(peer);
	sb_peer_arm(peer, now_ms);
	return true;
}

static void sb_peer_check_live(struct sb_peer *peer, u64 now_ms)
{
	u64 idle_ms = sb_peer_idle_ms(peer, now_ms);
	struct sb_session *session = peer->session;

	if (idle_ms < sb_peer_limit_ms(peer)) {
		if (peer->suspect) {
			sb_peer_clear(peer, now_ms);
		} else if (idle_ms >= sb_peer_suspect_ms(peer)) {
			peer->suspect = true;
			session->stats.suspects++;
			/* That it was heard before comes first. */
			if (peer->pending != SB_TELL_HEARD)
				sb_event_push(peer, SB_TELL_SUSPECT);
		}
		if (peer->offload)
			sb_offload_check(peer, now_ms);
		sb_peer_arm(peer, now_ms);
		return;
	}
	sb_peer_become(peer, SOCKBEAT_STATE_SILENT);
	peer->suspect = false;
	session->stats.silences++;
	trace_sockbeat_silent(peer, idle_ms);
	sb_act_silence(peer, now_ms);
	sb_event_push(peer, SB_TELL_SILENT);
	sb_act_check(peer, now_ms);
	sb_peer_await(peer, U64_MAX);
}

/* It is time to tell of a peer again, or for the kernel to act, or both. */
static void sb_peer_check_silent(struct sb_peer *peer, u64 now_ms)
{
	bool was_tried = peer->acting || peer->deferred;

	if (sb_peer_revive(peer, now_ms))
		return;
	sb_act_check(peer, now_ms);
	/* Whom the first try ends is not told of again. */
	if (peer->pending == SB_TELL_NOTHING &&
	    peer->policy.trigger == SOCKBEAT_TRIGGER_LEVEL &&
	    (was_tried || !peer->acting) && sb_act_is_told(peer, now_ms))
		sb_event_push(peer, SB_TELL_SILENT);
	if (peer->pending != SB_TELL_NOTHING)
		sb_peer_await(peer, U64_MAX);
	else
		sb_peer_await(peer, sb_peer_again_ms(peer, now_ms));
}

/**
 * sb_peer_check - look at a peer whose bucket has come due
 * @peer: a peer that is on no bucket now
 * @now_ms: sb_now_ms()
 *
 * Context: session->lock held.
 */
void sb_peer_check(struct sb_peer *peer, u64 now_ms)
{
	lockdep_assert_held(&peer->session->lock);

	switch (peer->state) {
	case SOCKBEAT_STATE_LIVE:
		sb_peer_check_live(peer, now_ms);
		break;
	case SOCKBEAT_STATE_SILENT:
		sb_peer_check_silent(peer, now_ms);
		break;
	case SOCKBEAT_STATE_GONE:
		sb_event_push(peer, SB_TELL_GONE);
		break;
	case SOCKBEAT_STATE_RECYCLING:
		sb_recycle_check(peer, now_ms);
		break;
	}
}
