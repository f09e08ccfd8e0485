// SPDX-License-Identifier: BSD-3-Clause
/*
 * What callers may ask for: both engines refuse the same values with the same
 * words.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "engine.h"

#define PEER_MASK	(2 * SOCKBEAT_PEER_USER_DATA - 1)

/**
 * sb_check_range - whether a value is within its range
 * @sb: the session
 * @what: the request
 * @name: the value's name
 * @value: the value
 * @min: least
 * @max: greatest
 *
 * Return: 0 or -EINVAL, with a text.
 */
int sb_check_range(struct sockbeat *sb, const char *what, const char *name, uint64_t value,
		   uint64_t min, uint64_t max)
{
	if (value >= min && value <= max)
		return 0;
	return sb_fail(sb, -EINVAL, "%s: %s %" PRIu64 " is not within %" PRIu64 "..%" PRIu64, what,
		       name, value, min, max);
}

/**
 * struct range - a value that was given, and what it may be
 * @name: its name
 * @value: the value
 * @min: least
 * @max: greatest
 */
struct range {
	const char *name;
	uint64_t value;
	uint64_t min;
	uint64_t max;
};

static int check_ranges(struct sockbeat *sb, const char *what, const struct range *ranges, size_t n)
{
	int err = 0;

	for (size_t i = 0; !err && i < n; i++)
		err = sb_check_range(sb, what, ranges[i].name, ranges[i].value, ranges[i].min,
				     ranges[i].max);
	return err;
}

#define TIME(name, ms) \
	{ name, (ms) ? (ms) : SOCKBEAT_MIN_TIMEOUT_MS, SOCKBEAT_MIN_TIMEOUT_MS, SOCKBEAT_MAX_TIMEOUT_MS }

/**
 * sb_check_opts - whether a session can be made as asked
 * @sb: the session
 * @opts: how
 *
 * Return: 0 or -EINVAL, with a text.
 */
int sb_check_opts(struct sockbeat *sb, const struct sockbeat_opts *opts)
{
	/* 0 is the default, which is within. */
	const struct range ranges[] = {
		{ "engine", opts->engine, 0, SOCKBEAT_ENGINE_BUILTIN },
		{ "capacity", opts->capacity, 1, SOCKBEAT_MAX_CAPACITY },
		TIME("timeout_ms", opts->timeout_ms),
		TIME("renotify_ms", opts->renotify_ms),
		{ "recycle_delay_ms",
		  opts->recycle_delay_ms == SOCKBEAT_NO_DELAY ? 0 : opts->recycle_delay_ms,
		  0, SOCKBEAT_MAX_DELAY_MS },
		{ "source", opts->source, 0, SOCKBEAT_SOURCE_EITHER },
		{ "trigger", opts->trigger, 0, SOCKBEAT_TRIGGER_EDGE },
		{ "action", opts->action, 0, SOCKBEAT_ACTION_ABORT },
		{ "act_after_ms", opts->act_after_ms, 0, SOCKBEAT_MAX_TIMEOUT_MS },
		{ "suspect_percent", opts->suspect_percent, 0, SOCKBEAT_MAX_SUSPECT_PERCENT },
		{ "adaptive_beats", opts->adaptive_beats, 0, SOCKBEAT_MAX_ADAPTIVE_BEATS },
		TIME("adaptive_min_ms", opts->adaptive_min_ms),
		{ "guard_percent", opts->guard_percent, 0, SOCKBEAT_MAX_PERCENT },
		TIME("guard_window_ms", opts->guard_window_ms),
	};

	return check_ranges(sb, "session-new", ranges, sizeof(ranges) / sizeof(ranges[0]));
}

static int check_peer(struct sockbeat *sb, const char *entry, const struct sockbeat_peer *peer)
{
	const struct {
		uint32_t bit;
		struct range range;
	} members[] = {
		{ SOCKBEAT_PEER_TIMEOUT, { "timeout_ms", peer->timeout_ms,
					   SOCKBEAT_MIN_TIMEOUT_MS, SOCKBEAT_MAX_TIMEOUT_MS } },
		{ SOCKBEAT_PEER_SOURCE, { "source", peer->source, 0, SOCKBEAT_SOURCE_EITHER } },
		{ SOCKBEAT_PEER_TRIGGER, { "trigger", peer->trigger, 0, SOCKBEAT_TRIGGER_EDGE } },
		{ SOCKBEAT_PEER_RENOTIFY, { "renotify_ms", peer->renotify_ms,
					    SOCKBEAT_MIN_TIMEOUT_MS, SOCKBEAT_MAX_TIMEOUT_MS } },
		{ SOCKBEAT_PEER_ACTION, { "action", peer->action, 0, SOCKBEAT_ACTION_ABORT } },
		{ SOCKBEAT_PEER_ACT_AFTER, { "act_after_ms", peer->act_after_ms, 0,
					     SOCKBEAT_MAX_TIMEOUT_MS } },
		{ SOCKBEAT_PEER_SUSPECT, { "suspect_percent", peer->suspect_percent, 0,
					   SOCKBEAT_MAX_SUSPECT_PERCENT } },
		{ SOCKBEAT_PEER_ADAPTIVE, { "adaptive_beats", peer->adaptive_beats, 0,
					    SOCKBEAT_MAX_ADAPTIVE_BEATS } },
	};
	int err = sb_check_range(sb, entry, "mask", peer->mask, 0, PEER_MASK);

	for (size_t i = 0; !err && i < sizeof(members) / sizeof(members[0]); i++) {
		if (peer->mask & members[i].bit)
			err = check_ranges(sb, entry, &members[i].range, 1);
	}
	return err;
}

/**
 * sb_check_peers - set each entry's @error to what can be said without the engine
 * @sb: the session
 * @what: the request's name
 * @peers: the entries
 * @n: how many
 */
void sb_check_peers(struct sockbeat *sb, const char *what, struct sockbeat_peer *peers, size_t n)
{
	struct sockbeat_peer *peer;
	char entry[64];
	int err;

	for (peer = peers; peer < peers + n; peer++) {
		snprintf(entry, sizeof(entry), "%s: entry %zu", what, (size_t)(peer - peers));
		err = check_peer(sb, entry, peer);
		if (!err)
			err = sb_offload_check_peer(sb, entry, peer);
		peer->error = err;
	}
}
