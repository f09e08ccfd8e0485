// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * A hierarchical timing wheel after Varghese and Lauck, "Hashed and
 * Hierarchical Timing Wheels" (SOSP 1987), with one difference: a timeout is
 * never moved when it is renewed.  A node lies in the bucket of its earliest
 * possible expiry; when the bucket comes due its owner looks at the real
 * deadline and either lets it expire or adds it again for what remains.
 *
 * That makes cascading free of charge.  A bucket of a coarse level comes due
 * at the beginning of the span that it covers, so a node in it is popped
 * early, never late; the owner adds it again exactly as it would after a
 * heartbeat, and it lands on a finer level.
 */
#ifdef __KERNEL__
#include <linux/bitops.h>
#else
#include <stddef.h>
#define __ffs64(x) ((unsigned int)__builtin_ctzll(x))
#endif

#include "wheel.h"

#define SB_WHEEL_MASK	(SB_WHEEL_SIZE - 1)

static void list_reset(struct sb_wheel_node *head)
{
	head->next = head;
	head->prev = head;
}

static void list_append(struct sb_wheel_node *head, struct sb_wheel_node *node)
{
	node->next = head;
	node->prev = head->prev;
	head->prev->next = node;
	head->prev = node;
}

/* Move all of @from to the end of @to. */
static void list_splice_end(struct sb_wheel_node *to, struct sb_wheel_node *from)
{
	if (from->next == from)
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_reset(from);
}

/**
 * sb_wheel_init - make an empty wheel
 * @wheel: the wheel
 * @now: the current tick
 */
void sb_wheel_init(struct sb_wheel *wheel, u64 now)
{
	unsigned int level, i;

	wheel->now = now;
	wheel->count = 0;
	list_reset(&wheel->due);
	for (level = 0; level < SB_WHEEL_LEVELS; level++) {
		wheel->pending[level] = 0;
		for (i = 0; i < SB_WHEEL_SIZE; i++)
			list_reset(&wheel->bucket[level][i]);
	}
}

/**
 * sb_wheel_add - arm a node
 * @wheel: the wheel
 * @node: a node that is on no wheel
 * @tick: when to pop it; a tick that is not in the future means at once, one
 *	  beyond the wheel's span is popped at the end of the span
 *
 * The node is popped at @tick or, where only a coarse bucket covers it,
 * earlier.  Never later, unless the owner advances the wheel late.
 */
void sb_wheel_add(struct sb_wheel *wheel, struct sb_wheel_node *node, u64 tick)
{
	unsigned int level, shift = 0;
	u64 slot;

	wheel->count++;
	if (tick <= wheel->now) {
		list_append(&wheel->due, node);
		return;
	}
	for (level = 0; level < SB_WHEEL_LEVELS - 1; level++) {
		if ((tick >> shift) - (wheel->now >> shift) < SB_WHEEL_SIZE)
			break;
		shift += SB_WHEEL_BITS;
	}
	slot = tick >> shift;
	if (slot - (wheel->now >> shift) >= SB_WHEEL_SIZE)
		slot = (wheel->now >> shift) + SB_WHEEL_SIZE - 1;
	slot &= SB_WHEEL_MASK;
	list_append(&wheel->bucket[level][slot], node);
	wheel->pending[level] |= (u64)1 << slot;
}

/**
 * sb_wheel_del - disarm a node
 * @wheel: the wheel that holds it
 * @node: an armed node
 */
void sb_wheel_del(struct sb_wheel *wheel, struct sb_wheel_node *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	sb_wheel_node_init(node);
	wheel->count--;
}

/**
 * sb_wheel_advance - let time pass
 * @wheel: the wheel
 * @now: the current tick; one in the past is ignored
 *
 * Moves whole buckets to the due list: at most SB_WHEEL_LEVELS *
 * SB_WHEEL_SIZE steps however far the time moved and however many nodes come
 * due.
 */
void sb_wheel_advance(struct sb_wheel *wheel, u64 now)
{
	unsigned int level, shift = 0;
	u64 from, to;

	if (now <= wheel->now)
		return;
	for (level = 0; level < SB_WHEEL_LEVELS; level++) {
		from = wheel->now >> shift;
		to = now >> shift;
		if (from == to)
			break;
		if (to - from > SB_WHEEL_SIZE)
			from = to - SB_WHEEL_SIZE;
		while (from++ < to) {
			u64 slot = from & SB_WHEEL_MASK;

			list_splice_end(&wheel->due, &wheel->bucket[level][slot]);
			wheel->pending[level] &= ~((u64)1 << slot);
		}
		shift += SB_WHEEL_BITS;
	}
	wheel->now = now;
}

/**
 * sb_wheel_pop - take the next due node off the wheel
 * @wheel: the wheel
 *
 * Return: a node that is now on no wheel, or NULL when none is due.
 */
struct sb_wheel_node *sb_wheel_pop(struct sb_wheel *wheel)
{
	struct sb_wheel_node *node = wheel->due.next;

	if (node == &wheel->due)
		return NULL;
	sb_wheel_del(wheel, node);
	return node;
}

/**
 * sb_wheel_next - when to advance the wheel next
 * @wheel: the wheel
 *
 * Return: the first tick at which a bucket comes due, the current tick while
 * due nodes wait, or SB_WHEEL_NEVER for an empty wheel.  A bucket that was
 * emptied by sb_wheel_del() may still be named: a spare wake-up, once.
 */
u64 sb_wheel_next(const struct sb_wheel *wheel)
{
	unsigned int level, shift, first;
	u64 best = SB_WHEEL_NEVER;
	u64 base, bits, tick;

	if (wheel->due.next != &wheel->due)
		return wheel->now;
	if (!wheel->count)
		return SB_WHEEL_NEVER;
	for (level = 0; level < SB_WHEEL_LEVELS; level++) {
		bits = wheel->pending[level];
		if (!bits)
			continue;
		shift = level * SB_WHEEL_BITS;
		base = (wheel->now >> shift) + 1;
		first = base & SB_WHEEL_MASK;
		/* Bit 0 becomes the bucket that comes due first. */
		if (first)
			bits = bits >> first | bits << (SB_WHEEL_SIZE - first);
		tick = (base + __ffs64(bits)) << shift;
		if (tick < best)
			best = tick;
	}
	return best;
}
