// SPDX-License-Identifier: GPL-2.0-only
/*
 * The timing wheel against a model that keeps every deadline in a plain array.
 *
 * UNIT_WHEEL_STEPS in the environment sets the number of random steps for each
 * start value; the default is a million.
 */
#include <stdlib.h>
#include <string.h>
#include "wheel.h"
#include "harness.h"

#define NODES		192
#define SPAN		((u64)1 << SB_WHEEL_BITS * SB_WHEEL_LEVELS)

struct item {
	struct sb_wheel_node node;
	u64 deadline;
	u64 added;
	unsigned int looks;	/* times popped since it was armed */
	bool armed;
};

FIXTURE(wheel) {
	struct sb_wheel wheel;
	struct item item[NODES];
	unsigned int armed;
	u64 random;
	u64 expired;
	u64 early;
};

FIXTURE_VARIANT(wheel) {
	u64 start;
};

FIXTURE_VARIANT_ADD(wheel, zero) { .start = 0 };
FIXTURE_VARIANT_ADD(wheel, below_32_bits) { .start = 0xfffffff0 };
FIXTURE_VARIANT_ADD(wheel, below_top_border) { .start = SPAN * 5 - 3 };
FIXTURE_VARIANT_ADD(wheel, sign_bit) { .start = ((u64)1 << 63) - 100 };
/* A million steps of 10^7 ticks at most stay below the wrap. */
FIXTURE_VARIANT_ADD(wheel, near_the_end) { .start = ~(u64)0 - ((u64)1 << 45) };

FIXTURE_SETUP(wheel)
{
	unsigned int i;

	memset(self, 0, sizeof(*self));
	sb_wheel_init(&self->wheel, variant->start);
	self->random = variant->start * 2 + 1;
	for (i = 0; i < NODES; i++)
		sb_wheel_node_init(&self->item[i].node);
}

FIXTURE_TEARDOWN(wheel)
{
}

/* xorshift64*: the same run every time. */
static u64 draw(FIXTURE_DATA(wheel) *self, u64 below)
{
	self->random ^= self->random >> 12;
	self->random ^= self->random << 25;
	self->random ^= self->random >> 27;
	return (self->random * 0x2545f4914f6cdd1dULL >> 16) % below;
}

/* A distance in time: any order of magnitude, often beside a level's border. */
static u64 distance(FIXTURE_DATA(wheel) *self, u64 most)
{
	u64 border = (u64)1 << SB_WHEEL_BITS * draw(self, SB_WHEEL_LEVELS + 1);
	u64 d;

	switch (draw(self, 3)) {
	case 0:
		d = draw(self, border * 2);
		break;
	case 1:
		d = border * draw(self, SB_WHEEL_SIZE + 1) + draw(self, 3);
		break;
	default:
		d = draw(self, 200);
		break;
	}
	return d > most ? most : d;
}

static void arm(FIXTURE_DATA(wheel) *self, struct item *item, u64 deadline)
{
	item->deadline = deadline;
	item->added = self->wheel.now;
	item->looks = 0;
	item->armed = true;
	self->armed++;
	sb_wheel_add(&self->wheel, &item->node, deadline);
}

static u64 first_deadline(const FIXTURE_DATA(wheel) *self)
{
	u64 first = SB_WHEEL_NEVER;
	unsigned int i;

	for (i = 0; i < NODES; i++) {
		if (self->item[i].armed && self->item[i].deadline < first)
			first = self->item[i].deadline;
	}
	return first;
}

/* Pop all that is due; what came early is added again, as an engine does. */
static void pop_all(struct __test_metadata *_metadata, FIXTURE_DATA(wheel) *self)
{
	struct sb_wheel_node *node, *head = NULL;
	struct item *item;

	while ((node = sb_wheel_pop(&self->wheel))) {
		item = (struct item *)node;
		ASSERT_TRUE(item >= self->item && item < self->item + NODES);
		ASSERT_TRUE(item->armed) TH_LOG("popped twice");
		ASSERT_FALSE(sb_wheel_armed(node));
		item->looks++;
		if (item->deadline > self->wheel.now) {
			self->early++;
			/* Each look brings it one level down, or a span on. */
			ASSERT_LE(item->looks, SB_WHEEL_LEVELS + 1 +
					       (item->deadline - item->added) / (SPAN / 64 * 62));
			/* Not at once: a look must never spin. */
			node->next = head;
			head = node;
			continue;
		}
		item->armed = false;
		self->armed--;
		self->expired++;
	}
	while (head) {
		node = head;
		head = node->next;
		sb_wheel_node_init(node);
		sb_wheel_add(&self->wheel, node, ((struct item *)node)->deadline);
	}
	/* What is left is due later. */
	ASSERT_GT(first_deadline(self), self->wheel.now) TH_LOG("popped late");
	ASSERT_EQ(self->wheel.count, self->armed);
}

static void step(struct __test_metadata *_metadata, FIXTURE_DATA(wheel) *self)
{
	struct item *item = &self->item[draw(self, NODES)];
	u64 now = self->wheel.now, next;

	switch (draw(self, 4)) {
	case 0:
	case 1:
		if (!item->armed)
			arm(self, item, now + 1 + distance(self, SPAN * 3));
		break;
	case 2:
		if (!item->armed)
			break;
		sb_wheel_del(&self->wheel, &item->node);
		ASSERT_FALSE(sb_wheel_armed(&item->node));
		item->armed = false;
		self->armed--;
		break;
	default:
		next = sb_wheel_next(&self->wheel);
		ASSERT_LE(next, first_deadline(self));
		ASSERT_GT(next, now);
		if (!self->armed)
			ASSERT_EQ(SB_WHEEL_NEVER, next);
		if (self->armed && draw(self, 2)) {
			/* Until then there is nothing, then there may be. */
			sb_wheel_advance(&self->wheel, next - 1);
			ASSERT_EQ(NULL, sb_wheel_pop(&self->wheel));
			sb_wheel_advance(&self->wheel, next);
		} else {
			sb_wheel_advance(&self->wheel, now + 1 + distance(self, 9999999));
		}
		pop_all(_metadata, self);
		break;
	}
}

TEST_F_TIMEOUT(wheel, random, 300)
{
	const char *text = getenv("UNIT_WHEEL_STEPS");
	u64 i, steps = text ? strtoull(text, NULL, 0) : 1000000;

	for (i = 0; i < steps; i++)
		step(_metadata, self);
	ASSERT_GE(self->wheel.now, variant->start) TH_LOG("the test itself went too far");
	/* Not an empty test. */
	ASSERT_GT(self->expired, steps / 100);
	ASSERT_GT(self->early, steps / 100);
	TH_LOG("%llu steps, %llu ticks: %llu nodes expired, %llu early looks", steps,
	       self->wheel.now - variant->start, self->expired, self->early);
}

/* A node alone, woken only when the wheel asks for it: it expires at its very
 * tick, for distances around every border and from any position in a bucket.
 */
TEST_F(wheel, borders)
{
	u64 border, now, deadline;
	unsigned int level, offset;
	int d;

	for (level = 0; level <= SB_WHEEL_LEVELS; level++) {
		border = (u64)1 << SB_WHEEL_BITS * level;
		for (offset = 0; offset < 200; offset++) {
			for (d = -2; d <= 2; d++) {
				if (border + 2 + d < 3)
					continue;
				now = variant->start + offset * (border / 64 + 1);
				deadline = now + border + d;
				sb_wheel_init(&self->wheel, now);
				arm(self, &self->item[0], deadline);
				while (self->armed) {
					ASSERT_LE(sb_wheel_next(&self->wheel), deadline);
					sb_wheel_advance(&self->wheel, sb_wheel_next(&self->wheel));
					pop_all(_metadata, self);
				}
				ASSERT_EQ(deadline, self->wheel.now);
			}
		}
	}
}

TEST_F(wheel, past_and_empty)
{
	ASSERT_EQ(SB_WHEEL_NEVER, sb_wheel_next(&self->wheel));
	ASSERT_EQ(NULL, sb_wheel_pop(&self->wheel));
	sb_wheel_advance(&self->wheel, variant->start + 1000);
	/* Time does not run back. */
	sb_wheel_advance(&self->wheel, variant->start + 10);
	ASSERT_EQ(variant->start + 1000, self->wheel.now);

	/* What is due already is popped without an advance, in order. */
	arm(self, &self->item[0], variant->start + 1000);
	arm(self, &self->item[1], variant->start);
	ASSERT_EQ(self->wheel.now, sb_wheel_next(&self->wheel));
	ASSERT_EQ(&self->item[0].node, sb_wheel_pop(&self->wheel));
	sb_wheel_del(&self->wheel, &self->item[1].node);
	ASSERT_EQ(NULL, sb_wheel_pop(&self->wheel));
	ASSERT_EQ(0, self->wheel.count);
	ASSERT_EQ(SB_WHEEL_NEVER, sb_wheel_next(&self->wheel));
}

/* A jump over the whole span empties every bucket in one call. */
TEST_F(wheel, jump)
{
	unsigned int i;

	for (i = 0; i < NODES; i++)
		arm(self, &self->item[i], variant->start + 1 + SPAN * i / NODES);
	sb_wheel_advance(&self->wheel, variant->start + SPAN * 40);
	pop_all(_metadata, self);
	ASSERT_EQ(0, self->armed);
	ASSERT_EQ(NODES, self->expired);
	ASSERT_EQ(SB_WHEEL_NEVER, sb_wheel_next(&self->wheel));
}

TEST_HARNESS_MAIN
