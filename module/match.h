/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * Recognising heartbeat frames in a byte stream, built into the module and
 * into the library.
 */
#ifndef _SOCKBEAT_MATCH_H
#define _SOCKBEAT_MATCH_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdbool.h>
#include <stddef.h>
typedef unsigned char u8;
typedef unsigned int u32;
#endif

#include <linux/sockbeat.h>

/**
 * struct sb_pattern - one kind of frame
 * @len: bytes of the frame, 1 to SOCKBEAT_MAX_FRAME_BYTES
 * @reply_len: bytes of the answer, 0 for none
 * @copy_from: first byte of the frame that is copied into the answer
 * @copy_to: where in the answer it goes
 * @copy_bytes: how many are copied
 * @answers_probe: the frame is expected only while a probe is unanswered
 * @value: what the frame is, under @mask
 * @mask: bits of @value that have to be met
 * @reply: the answer
 */
struct sb_pattern {
	u8 len;
	u8 reply_len;
	u8 copy_from;
	u8 copy_to;
	u8 copy_bytes;
	bool answers_probe;
	u8 value[SOCKBEAT_MAX_FRAME_BYTES];
	u8 mask[SOCKBEAT_MAX_FRAME_BYTES];
	u8 reply[SOCKBEAT_MAX_FRAME_BYTES];
};

/**
 * struct sb_profile - the heartbeats of a protocol
 * @min_interval_ms: the least time between two that the kernel answers
 * @n_patterns: entries of @pattern in use, tried in order
 * @probe_len: bytes of @probe, 0 for none
 * @probe: what makes a peer of this protocol answer
 * @pattern: kinds of frames
 */
struct sb_profile {
	u32 min_interval_ms;
	u8 n_patterns;
	u8 probe_len;
	u8 probe[SOCKBEAT_MAX_FRAME_BYTES];
	struct sb_pattern pattern[SOCKBEAT_MAX_PATTERNS];
};

/**
 * enum sb_match_kind - what a stretch of a stream was found to be
 * @SB_MATCH_HEARTBEATS: whole heartbeats and nothing else
 * @SB_MATCH_PARTIAL: the same, but for the last, whose end is missing
 * @SB_MATCH_DATA: something else, or too much to answer at once
 */
enum sb_match_kind {
	SB_MATCH_HEARTBEATS,
	SB_MATCH_PARTIAL,
	SB_MATCH_DATA,
};

/**
 * struct sb_match - the heartbeats that were found
 * @frames: how many, answers to probes included
 * @answers: answers to probes
 * @reply_bytes: length of all replies
 */
struct sb_match {
	u32 frames;
	u32 answers;
	u32 reply_bytes;
};

const char *sb_profile_check(const struct sb_profile *profile);
bool sb_profile_is_echo(const struct sb_profile *profile);
enum sb_match_kind sb_match_first(const struct sb_profile *profile,
				  const u8 *in, size_t len, bool probed,
				  const struct sb_pattern **pattern);
enum sb_match_kind sb_match_all(const struct sb_profile *profile,
				const u8 *in, size_t len, unsigned int probed,
				u8 *out, size_t room, struct sb_match *found);
void sb_pattern_reply(const struct sb_pattern *pattern, const u8 *frame, u8 *out);

#endif /* _SOCKBEAT_MATCH_H */
