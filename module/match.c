// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * Recognising heartbeat frames in a byte stream.
 *
 * Only a stretch that is heartbeats from its first byte to its last is one:
 * whoever answers for an application may take what is surely a heartbeat and
 * nothing else.
 */
#ifdef __KERNEL__
#include <linux/string.h>
#else
#include <string.h>
#endif

#include "match.h"

static const char *sb_pattern_check(const struct sb_pattern *p)
{
	if (!p->len || p->len > SOCKBEAT_MAX_FRAME_BYTES)
		return "a pattern's value has to be 1 to 64 bytes long";
	if (p->reply_len > SOCKBEAT_MAX_FRAME_BYTES)
		return "a pattern's reply has to be 0 to 64 bytes long";
	if (p->copy_from + p->copy_bytes > p->len)
		return "copy-from and copy-bytes reach beyond the pattern's value";
	if (p->copy_to + p->copy_bytes > p->reply_len)
		return "copy-to and copy-bytes reach beyond the pattern's reply";
	if (p->answers_probe && p->reply_len)
		return "an answer to a probe takes no reply";
	return NULL;
}

/**
 * sb_profile_check - find out whether a profile makes sense
 * @profile: untrusted
 *
 * Context: any.
 * Return: NULL, or what is wrong with it.
 */
const char *sb_profile_check(const struct sb_profile *profile)
{
	bool answered = false;
	const char *why;
	unsigned int i;

	if (!profile->n_patterns || profile->n_patterns > SOCKBEAT_MAX_PATTERNS)
		return "a profile has to have 1 to 4 patterns";
	if (profile->probe_len > SOCKBEAT_MAX_FRAME_BYTES)
		return "a probe has to be 0 to 64 bytes long";
	for (i = 0; i < profile->n_patterns; i++) {
		why = sb_pattern_check(&profile->pattern[i]);
		if (why)
			return why;
		answered |= profile->pattern[i].answers_probe;
	}
	if (answered && !profile->probe_len)
		return "a pattern answers a probe, but the profile has none";
	return NULL;
}

static bool sb_pattern_fits(const struct sb_pattern *p, const u8 *in, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++) {
		if ((in[i] ^ p->value[i]) & p->mask[i])
			return false;
	}
	return true;
}

static bool sb_patterns_overlap(const struct sb_pattern *a, const struct sb_pattern *b)
{
	unsigned int i;

	for (i = 0; i < a->len && i < b->len; i++) {
		if ((a->value[i] ^ b->value[i]) & a->mask[i] & b->mask[i])
			return false;
	}
	return true;
}

/**
 * sb_profile_is_echo - find out whether an answer to a probe may be a heartbeat, too
 * @profile: one that sb_profile_check() found right
 *
 * Context: any.
 */
bool sb_profile_is_echo(const struct sb_profile *profile)
{
	const struct sb_pattern *p = profile->pattern;
	unsigned int i, j;

	for (i = 0; i < profile->n_patterns; i++) {
		for (j = 0; j < profile->n_patterns; j++) {
			if (p[i].answers_probe && !p[j].answers_probe &&
			    sb_patterns_overlap(&p[i], &p[j]))
				return true;
		}
	}
	return false;
}

/**
 * sb_match_first - look at the first frame of a stretch
 * @profile: the protocol's heartbeats
 * @in: the stretch, which begins at a frame boundary
 * @len: its length in bytes, at least 1
 * @probed: whether answers to probes are expected
 * @pattern: set to what fits, for SB_MATCH_HEARTBEATS
 *
 * Context: any.
 * Return: whether there is a heartbeat, the beginning of one, or neither.
 */
enum sb_match_kind sb_match_first(const struct sb_profile *profile,
				  const u8 *in, size_t len, bool probed,
				  const struct sb_pattern **pattern)
{
	const struct sb_pattern *p;
	unsigned int i;

	for (i = 0; i < profile->n_patterns; i++) {
		p = &profile->pattern[i];
		if (p->answers_probe && !probed)
			continue;
		if (len >= p->len && sb_pattern_fits(p, in, p->len)) {
			*pattern = p;
			return SB_MATCH_HEARTBEATS;
		}
		/* How a stream is cut must not decide between two patterns. */
		if (len < p->len && sb_pattern_fits(p, in, len))
			return SB_MATCH_PARTIAL;
	}
	return SB_MATCH_DATA;
}

/**
 * sb_pattern_reply - make the answer to a frame
 * @pattern: what the frame fits
 * @frame: the frame, @pattern->len bytes
 * @out: the answer, @pattern->reply_len bytes
 *
 * Context: any.
 */
void sb_pattern_reply(const struct sb_pattern *pattern, const u8 *frame, u8 *out)
{
	memcpy(out, pattern->reply, pattern->reply_len);
	memcpy(out + pattern->copy_to, frame + pattern->copy_from,
	       pattern->copy_bytes);
}

/**
 * sb_match_all - look at all frames of a stretch
 * @profile: the protocol's heartbeats
 * @in: the stretch, which begins at a frame boundary
 * @len: its length in bytes
 * @probed: answers to probes that are expected
 * @out: filled with the replies
 * @room: bytes there
 * @found: filled in for SB_MATCH_HEARTBEATS
 *
 * Context: any.
 * Return: what the whole stretch is.
 */
enum sb_match_kind sb_match_all(const struct sb_profile *profile,
				const u8 *in, size_t len, unsigned int probed,
				u8 *out, size_t room, struct sb_match *found)
{
	const struct sb_pattern *p;
	enum sb_match_kind kind;
	size_t pos;

	memset(found, 0, sizeof(*found));
	for (pos = 0; pos < len; pos += p->len) {
		kind = sb_match_first(profile, in + pos, len - pos,
				      found->answers < probed, &p);
		if (kind != SB_MATCH_HEARTBEATS)
			return kind;
		if (p->reply_len > room - found->reply_bytes)
			return SB_MATCH_DATA;
		sb_pattern_reply(p, in + pos, out + found->reply_bytes);
		found->reply_bytes += p->reply_len;
		found->answers += p->answers_probe;
		found->frames++;
	}
	return SB_MATCH_HEARTBEATS;
}
