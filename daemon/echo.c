// SPDX-License-Identifier: BSD-3-Clause
/*
 * The first service: heartbeats and echo requests, both answered by the frame
 * that was received. So the answer to the valid frames of one read is those
 * bytes themselves: one write, without a copy.
 */
#include "frame.h"
#include "reactor.h"

/* The clock is looked at only when the count is over the limit, so a frame
 * costs an addition. A window therefore lasts at least a second, maybe longer,
 * and allows the limit for every second that it has begun: a flood is noticed
 * within two limits' worth of frames, and who keeps to the limit is never
 * taken for one, even when a stalled server reads it late.
 */
static bool is_flood(struct reactor *r, struct conn *c, uint32_t frames)
{
	uint64_t now_ms, seconds;

	c->frames += frames;
	if (!r->config->max_frames_per_s || c->frames <= r->config->max_frames_per_s)
		return false;
	now_ms = reactor_now_ms();
	seconds = (now_ms - c->window_ms) / 1000;
	if (c->frames > (seconds + 1) * r->config->max_frames_per_s || !seconds)
		return true;
	c->window_ms = now_ms;
	c->frames = 0;
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

static long echo_readable(struct reactor *r, struct conn *c, const uint8_t *data,
			  size_t len, size_t *need)
{
	enum frame_result result = FRAME_OK;
	uint32_t frames = 0, heartbeats = 0;
	struct frame frame;
	size_t used = 0;
	long cause;
	int err;

	while (used < len) {
		result = frame_parse(data + used, len - used, r->config->max_frame_bytes, &frame);
		if (result != FRAME_OK)
			break;
		used += frame.length;
		frames++;
		heartbeats += frame.type == FRAME_HEARTBEAT;
	}
	if (result == FRAME_PARTIAL)
		*need = frame.length;

	r->counters.frames += frames;
	r->counters.heartbeats += heartbeats;
	if (heartbeats && r->config->source != SOCKBEAT_SOURCE_ACTIVITY)
		sockbeat_beat(r->sb, c->handle);
	if (is_flood(r, c, frames))
		return -CLOSE_FLOOD;
	if (used) {
		err = conn_send(r, c, data, used);
		if (err)
			return err;
	}
	cause = end_cause(result);
	return cause ? cause : (long)used;
}

const struct service_ops echo_service = {
	.readable = echo_readable,
};
