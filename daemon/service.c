// SPDX-License-Identifier: BSD-3-Clause
/*
 * The sample service: heartbeats and echo requests are answered at once and
 * sleep requests by a worker, all by the frame that was received. So the answer
 * to the heartbeats and echoes of one read is those bytes themselves: one write,
 * without a copy.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "frame.h"
#include "reactor.h"

#define SLEEP_MAX_MS	600000

/* The clock is looked at only when the count is over the limit, so a frame
 * costs an addition.  The limit holds for every second that has begun since
 * @window_ms, and what was allowed and not used stays allowed for as long as
 * a client may be silent, beyond the time for which we did not read: who keeps to
 * the limit is never taken for a flood, however late and in however many pieces its
 * frames arrive.
 */
static bool is_flood(struct reactor *r, struct conn *c, uint32_t frames)
{
	uint32_t max = r->config->max_frames_per_s;
	uint64_t now_ms, seconds, oldest_ms = r->config->timeout_ms + 1000ull;

	c->frames += frames;
	if (!max || c->frames <= max)
		return false;
	now_ms = reactor_now_ms();
	/* What was sent meanwhile has arrived, or will never. */
	if ((uint32_t)now_ms - c->stall_ms > oldest_ms)
		c->waited_ms = 0;
	oldest_ms += c->waited_ms;
	if (now_ms - c->window_ms > oldest_ms)
		c->window_ms = now_ms - oldest_ms;
	seconds = (now_ms - c->window_ms) / 1000;
	if (c->frames > (seconds + 1) * max)
		return true;
	if (seconds > c->frames / max)
		seconds = c->frames / max;
	c->window_ms += seconds * 1000;
	c->frames -= seconds * max;
	c->waited_ms -= seconds * 1000 < c->waited_ms ? seconds * 1000 : c->waited_ms;
	return false;
}

static long end_cause(enum frame_result result)
{
	switch (result) {
	case FRAME_BAD_LENGTH:
		return -CLOSE_BAD_LENGTH;
	case FRAME_BAD_CRC:
		return -CLOSE_BAD_CRC;
	case FRAME_BAD_TYPE:
		return -CLOSE_BAD_TYPE;
	default:
		return 0;
	}
}

/* A frame, and the answer where that is not the frame itself. */
struct request_frame {
	struct frame native;
	uint8_t reply[SOCKBEAT_MAX_FRAME_BYTES];
	size_t reply_len;
	bool is_foreign;
};

/* The first frame there: a heartbeat of the profile, or a native frame. */
static enum frame_result next_frame(struct reactor *r, const uint8_t *data, size_t len,
				    struct request_frame *frame)
{
	int match;

	frame->is_foreign = false;
	if (r->is_native)
		return frame_parse(data, len, r->config->max_frame_bytes, &frame->native);
	match = sockbeat_profile_match(r->sb, REACTOR_PROFILE, data, len, frame->reply,
				       &frame->reply_len);
	if (!match)
		return frame_parse(data, len, r->config->max_frame_bytes, &frame->native);
	if (match < 0) {
		frame->native.length = len + 1;
		return FRAME_PARTIAL;
	}
	frame->native.length = match;
	frame->native.type = FRAME_HEARTBEAT;
	frame->is_foreign = true;
	return FRAME_OK;
}

/* What became of a request for the pool. */
enum request {
	REQUEST_OK,
	REQUEST_STALLED,	/* no room now, ask again later */
};

/* Hand a sleep request to the pool. Returns enum request or -cause. */
static long sleep_request(struct reactor *r, struct conn *c, const uint8_t *data, uint32_t len)
{
	struct job *job;
	uint32_t ms;

	if (len < FRAME_HEADER_BYTES + sizeof(ms))
		return -CLOSE_BAD_REQUEST;
	memcpy(&ms, data + FRAME_HEADER_BYTES, sizeof(ms));
	if (ntohl(ms) > SLEEP_MAX_MS)
		return -CLOSE_BAD_REQUEST;
	if (jobs_line_full(r, c))
		return REQUEST_STALLED;
	if (!work_reserve(r->shared->work)) {
		if (r->config->when_work_full == CONFIG_FULL_CLOSE)
			return -CLOSE_BUSY;
		jobs_stall(r, c);
		return REQUEST_STALLED;
	}
	job = malloc(sizeof(*job) + len);
	if (!job) {
		work_forget(r->shared->work, 1);
		return -CLOSE_NO_MEMORY;
	}
	job->run = work_sleep;
	job->ms = ntohl(ms);
	job->len = len;
	memcpy(job->data, data, len);
	jobs_submit(r, c, job);
	return REQUEST_OK;
}

/* Frames that are their own answer are done with when that is on its way. */
static int echo(struct reactor *r, struct conn *c, const uint8_t *data, size_t len)
{
	c->at.undone -= len;
	return len ? conn_send(r, c, data, len) : 0;
}

/* Frames of which some are for the pool, or are not their own answer: valid
 * ones, @len bytes. Returns how many bytes were used, fewer only when the
 * connection was stalled; @frames and @heartbeats say what was left then.
 */
static long mixed_frames(struct reactor *r, struct conn *c, const uint8_t *data, size_t len,
			 uint32_t *frames, uint32_t *heartbeats)
{
	struct request_frame frame;
	size_t echoed = 0, used = 0;
	long ret;

	for (; used < len; --*frames) {
		next_frame(r, data + used, len - used, &frame);
		if (frame.native.type == FRAME_SLEEP || frame.is_foreign) {
			ret = echo(r, c, data + echoed, used - echoed);
			if (!ret && frame.is_foreign && frame.reply_len)
				ret = conn_send(r, c, frame.reply, frame.reply_len);
			else if (!ret && !frame.is_foreign)
				ret = sleep_request(r, c, data + used, frame.native.length);
			if (ret < 0)
				return ret;
			if (ret == REQUEST_STALLED)
				return used;
			echoed = used + frame.native.length;
		}
		*heartbeats -= frame.native.type == FRAME_HEARTBEAT;
		used += frame.native.length;
	}
	ret = echo(r, c, data + echoed, used - echoed);
	return ret ? ret : (long)used;
}

static void count(struct reactor *r, const struct conn *c, uint32_t frames, uint32_t heartbeats)
{
	r->counters.frames += frames;
	r->counters.heartbeats += heartbeats;
	if (heartbeats && r->config->source != SOCKBEAT_SOURCE_ACTIVITY)
		sockbeat_beat(r->sb, c->handle);
}

static long sample_readable(struct reactor *r, struct conn *c, const uint8_t *data,
			    size_t len, size_t *need)
{
	enum frame_result result = FRAME_OK;
	uint32_t frames = 0, heartbeats = 0, others = 0, counted;
	struct request_frame frame;
	size_t used = 0;
	long cause, ret;

	while (used < len) {
		result = next_frame(r, data + used, len - used, &frame);
		if (result != FRAME_OK)
			break;
		used += frame.native.length;
		frames++;
		heartbeats += frame.native.type == FRAME_HEARTBEAT;
		others += frame.native.type == FRAME_SLEEP || frame.is_foreign;
	}
	if (result == FRAME_PARTIAL)
		*need = frame.native.length;

	/* All that was left when it was stalled is among them. */
	counted = c->counted;
	c->counted = 0;
	if (is_flood(r, c, frames - counted)) {
		count(r, c, frames, heartbeats);
		return -CLOSE_FLOOD;
	}
	if (others) {
		uint32_t frames_left = frames, heartbeats_left = heartbeats;

		ret = mixed_frames(r, c, data, used, &frames_left, &heartbeats_left);
		/* What was not done yet is counted when it is. */
		if (c->is_stalled) {
			r->counters.work_pauses += !r->resuming && !c->is_line_full;
			c->counted = frames_left;
			count(r, c, frames - frames_left, heartbeats - heartbeats_left);
			next_frame(r, data + ret, len - ret, &frame);
			*need = frame.native.length;
			return ret;
		}
	} else {
		ret = echo(r, c, data, used);
	}
	count(r, c, frames, heartbeats);
	if (ret < 0)
		return ret;
	cause = end_cause(result);
	return cause ? cause : (long)used;
}

const struct service_ops sample_service = {
	.readable = sample_readable,
};
