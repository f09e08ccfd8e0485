// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzzing the matcher of heartbeats, which runs in the kernel on whatever a
 * client sends: it agrees with a naive reference, writes no further than it has
 * room, and finds the same however the stream is cut.
 *
 * Input: how (the high bit: probed; the low half: n), n lengths of pieces, room
 * for replies (2 bytes), the profile, the stream as said at make_stream().
 */
#include "fuzz.h"
#include "match.h"

#define STREAM_MAX	1024
#define REPLIES_MAX	(STREAM_MAX * SOCKBEAT_MAX_FRAME_BYTES)

/**
 * struct outcome - what a stream is found to be
 * @kind: all of it
 * @used: bytes of whole heartbeats before anything else
 * @found: those
 * @reply: their replies
 */
struct outcome {
	enum sb_match_kind kind;
	size_t used;
	struct sb_match found;
	u8 *reply;
};

static void take_frame(struct fuzz_input *in, u8 *frame, u8 len)
{
	for (unsigned int i = 0; i < len && i < SOCKBEAT_MAX_FRAME_BYTES; i++)
		frame[i] = fuzz_byte(in);
}

static void take_pattern(struct fuzz_input *in, struct sb_pattern *p)
{
	u8 mask;

	p->len = fuzz_byte(in);
	p->reply_len = fuzz_byte(in);
	p->copy_from = fuzz_byte(in);
	p->copy_to = fuzz_byte(in);
	p->copy_bytes = fuzz_byte(in);
	p->answers_probe = fuzz_byte(in) & 1;
	mask = fuzz_byte(in);	/* of every byte; 0 for a mask of its own each */
	memset(p->mask, mask, sizeof(p->mask));
	take_frame(in, p->value, p->len);
	if (!mask)
		take_frame(in, p->mask, p->len);
	take_frame(in, p->reply, p->reply_len);
}

static void take_profile(struct fuzz_input *in, struct sb_profile *profile)
{
	memset(profile, 0, sizeof(*profile));
	profile->n_patterns = fuzz_byte(in);
	profile->probe_len = fuzz_byte(in);
	for (unsigned int i = 0; i < profile->n_patterns && i < SOCKBEAT_MAX_PATTERNS; i++)
		take_pattern(in, &profile->pattern[i]);
}

/* Whether it can be worked with: the same as sb_profile_check() has to say. */
static bool is_sane(const struct sb_profile *profile)
{
	const struct sb_pattern *p = profile->pattern;
	bool has_probe = profile->probe_len > 0;

	if (profile->n_patterns < 1 || profile->n_patterns > 4 || profile->probe_len > 64)
		return false;
	for (; p < profile->pattern + profile->n_patterns; p++) {
		int from_end = p->copy_from + p->copy_bytes, to_end = p->copy_to + p->copy_bytes;

		if (p->len < 1 || p->len > 64 || p->reply_len > 64 || from_end > p->len ||
		    to_end > p->reply_len || (p->answers_probe && (p->reply_len || !has_probe)))
			return false;
	}
	return true;
}

/*
 * Chance makes few heartbeats, so a byte says what comes next: up to 63, so many
 * bytes as they are; else one of the profile's frames, with what its mask leaves
 * open taken from the input, and with bit 4 without its last byte.
 */
static size_t make_stream(struct fuzz_input *in, const struct sb_profile *profile, u8 *stream)
{
	const struct sb_pattern *p;
	size_t len = 0;
	u8 what, n;

	while (in->left && len + SOCKBEAT_MAX_FRAME_BYTES <= STREAM_MAX) {
		what = fuzz_byte(in);
		if (what < SOCKBEAT_MAX_FRAME_BYTES) {
			for (n = what; n && in->left; n--)
				stream[len++] = fuzz_byte(in);
			continue;
		}
		p = &profile->pattern[what % profile->n_patterns];
		n = p->len - (what >> 4 & 1);
		for (unsigned int i = 0; i < n; i++) {
			stream[len++] = p->mask[i] == 0xff ? p->value[i] :
					(p->value[i] & p->mask[i]) | (fuzz_byte(in) & ~p->mask[i]);
		}
	}
	return len;
}

/* The first pattern that nothing there speaks against, NULL for none. */
static const struct sb_pattern *candidate(const struct sb_profile *profile, const u8 *in,
					  size_t len, bool probed)
{
	for (unsigned int i = 0; i < profile->n_patterns; i++) {
		const struct sb_pattern *p = &profile->pattern[i];
		bool fits = probed || !p->answers_probe;

		for (size_t at = 0; at < len && at < p->len; at++) {
			for (int bit = 1; bit < 256; bit <<= 1) {
				if ((p->mask[at] & bit) && (in[at] & bit) != (p->value[at] & bit))
					fits = false;
			}
		}
		if (fits)
			return p;
	}
	return NULL;
}

static void expected(const struct sb_profile *profile, const u8 *in, size_t len,
		     unsigned int probed, size_t room, struct outcome *o)
{
	const struct sb_pattern *p;
	u8 *reply;

	memset(&o->found, 0, sizeof(o->found));
	o->used = 0;
	o->kind = SB_MATCH_HEARTBEATS;
	while (o->used < len) {
		p = candidate(profile, in + o->used, len - o->used, probed);
		if (!p || (len - o->used >= p->len && o->found.reply_bytes + p->reply_len > room)) {
			o->kind = SB_MATCH_DATA;
			return;
		}
		if (len - o->used < p->len) {
			o->kind = SB_MATCH_PARTIAL;
			return;
		}
		reply = o->reply + o->found.reply_bytes;
		for (unsigned int i = 0; i < p->reply_len; i++) {
			bool copied = i >= p->copy_to && i < p->copy_to + p->copy_bytes;

			reply[i] = copied ? in[o->used + p->copy_from + i - p->copy_to] : p->reply[i];
		}
		o->found.reply_bytes += p->reply_len;
		o->found.frames++;
		if (p->answers_probe) {
			/* A probe is answered once. */
			o->found.answers++;
			probed--;
		}
		o->used += p->len;
	}
}

static void check_same(const struct outcome *a, const struct sb_match *found, const u8 *reply)
{
	CHECK(a->found.frames == found->frames);
	CHECK(a->found.answers == found->answers);
	CHECK(a->found.reply_bytes == found->reply_bytes);
	CHECK(!memcmp(a->reply, reply, found->reply_bytes));
}

/* A stretch at once, into a block of no more than the room. */
static void at_once(const struct sb_profile *profile, const u8 *in, size_t len,
		    unsigned int probed, size_t room, const struct outcome *expected)
{
	u8 *reply = malloc(room ? room : 1);
	struct sb_match found;

	CHECK(reply);
	if (!room)
		__asan_poison_memory_region(reply, 1);
	CHECK(sb_match_all(profile, in, len, probed, reply, room, &found) == expected->kind);
	if (expected->kind == SB_MATCH_HEARTBEATS)
		check_same(expected, &found, reply);
	__asan_unpoison_memory_region(reply, 1);
	free(reply);
}

/*
 * As who answers for an application does it: what is whole is taken, the
 * beginning of a heartbeat stays until there is more. However it is cut, the
 * same is found.
 */
static void in_pieces(const struct sb_profile *profile, struct fuzz_stream *s,
		      unsigned int probed, u8 *reply, const struct outcome *expected)
{
	enum sb_match_kind kind = SB_MATCH_HEARTBEATS;
	struct sb_match all = { 0 }, found;
	size_t used = 0;

	fuzz_stream_restart(s);
	while (kind != SB_MATCH_DATA && fuzz_stream_more(s)) {
		kind = sb_match_all(profile, s->data + used, s->arrived - used,
				    probed - all.answers, reply + all.reply_bytes,
				    REPLIES_MAX - all.reply_bytes, &found);
		if (kind == SB_MATCH_HEARTBEATS) {
			used = s->arrived;
			all.frames += found.frames;
			all.answers += found.answers;
			all.reply_bytes += found.reply_bytes;
		}
		CHECK(used <= expected->used);
	}
	CHECK(kind == expected->kind);
	if (kind == SB_MATCH_HEARTBEATS)
		check_same(expected, &all, reply);
	else
		CHECK(!memcmp(expected->reply, reply, all.reply_bytes));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static u8 wanted[REPLIES_MAX], got[REPLIES_MAX], bytes[STREAM_MAX];
	struct fuzz_input in = { data, size };
	struct outcome outcome = { .reply = wanted };
	struct fuzz_stream stream;
	struct sb_profile profile;
	const char *why;
	uint16_t room;
	size_t len;
	u8 how;

	how = fuzz_byte(&in);
	fuzz_stream_cuts(&stream, how, &in);
	room = fuzz_u16(&in);
	take_profile(&in, &profile);
	why = sb_profile_check(&profile);
	CHECK(!why == is_sane(&profile));
	if (why)
		return 0;

	len = make_stream(&in, &profile, bytes);
	fuzz_stream_fill(&stream, bytes, len);
	expected(&profile, stream.data, len, how >> 6, room, &outcome);
	at_once(&profile, stream.data, len, how >> 6, room, &outcome);
	expected(&profile, stream.data, len, how >> 6, REPLIES_MAX, &outcome);
	in_pieces(&profile, &stream, how >> 6, got, &outcome);
	fuzz_stream_free(&stream);
	return 0;
}
