/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * Timing wheel for lazily re-armed timeouts, built into the module and into
 * the daemon's builtin engine.
 */
#ifndef _SOCKBEAT_WHEEL_H
#define _SOCKBEAT_WHEEL_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdbool.h>
#include <stddef.h>
typedef unsigned long long u64;
typedef unsigned int u32;
#endif

#define SB_WHEEL_BITS	6
#define SB_WHEEL_SIZE	64
#define SB_WHEEL_LEVELS	5

/**
 * struct sb_wheel_node - a wheel's hold on one timeout, embedded by the owner
 * @next: forward link, NULL while the node is on no wheel
 * @prev: backward link
 */
struct sb_wheel_node {
	struct sb_wheel_node *next;
	struct sb_wheel_node *prev;
};

/**
 * struct sb_wheel - hierarchical timing wheel
 * @now: tick that the wheel was last advanced to
 * @count: nodes held, those on @due included
 * @pending: per level, a bit for each bucket that may hold nodes
 * @due: nodes whose bucket has come, oldest first
 * @bucket: level n covers 64^(n+1) ticks in buckets of 64^n ticks
 *
 * The wheel takes no lock: its owner serialises all calls.
 */
struct sb_wheel {
	u64 now;
	u32 count;
	u64 pending[SB_WHEEL_LEVELS];
	struct sb_wheel_node due;
	struct sb_wheel_node bucket[SB_WHEEL_LEVELS][SB_WHEEL_SIZE];
};

#define SB_WHEEL_NEVER	(~(u64)0)

void sb_wheel_init(struct sb_wheel *wheel, u64 now);
void sb_wheel_add(struct sb_wheel *wheel, struct sb_wheel_node *node, u64 tick);
void sb_wheel_del(struct sb_wheel *wheel, struct sb_wheel_node *node);
void sb_wheel_advance(struct sb_wheel *wheel, u64 now);
struct sb_wheel_node *sb_wheel_pop(struct sb_wheel *wheel);
u64 sb_wheel_next(const struct sb_wheel *wheel);

/**
 * sb_wheel_node_init - prepare a node that is on no wheel
 * @node: the node
 */
static inline void sb_wheel_node_init(struct sb_wheel_node *node)
{
	node->next = NULL;
	node->prev = NULL;
}

/**
 * sb_wheel_armed - whether a node is on a wheel
 * @node: an initialised node
 *
 * Return: true between sb_wheel_add() and sb_wheel_del() or sb_wheel_pop().
 */
static inline bool sb_wheel_armed(const struct sb_wheel_node *node)
{
	return node->next;
}

#endif /* _SOCKBEAT_WHEEL_H */
