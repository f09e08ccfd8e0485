/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Requests made up at random from the policies that the kernel has for them.
 */
#ifndef SELFTESTS_NETLINK_POLICY_H
#define SELFTESTS_NETLINK_POLICY_H

#include <linux/netlink.h>
#include "client.h"
#include "random.h"

#define CMDS		32
#define POLICIES	40
#define ATTRS		64
#define MESSAGE_BYTES	8192

/* What a policy says of an attribute. */
struct attr_policy {
	uint32_t type;		/* enum netlink_attribute_type; 0: not taken */
	uint64_t min, max;	/* of its value, or of its length */
	int nested;		/* the policy of what is in it */
};

struct policies {
	struct attr_policy attr[POLICIES][ATTRS];
	bool has_do[CMDS], has_dump[CMDS];
	int of_do[CMDS], of_dump[CMDS];
};

static inline void policy_attr(struct attr_policy *policy, const struct nlattr *nest)
{
	struct nlattr *attr;

	policy->max = UINT64_MAX;
	mnl_attr_for_each_nested(attr, nest) {
		switch (mnl_attr_get_type(attr)) {
		case NL_POLICY_TYPE_ATTR_TYPE:
			policy->type = mnl_attr_get_u32(attr);
			break;
		case NL_POLICY_TYPE_ATTR_MIN_VALUE_U:
			policy->min = mnl_attr_get_u64(attr);
			break;
		case NL_POLICY_TYPE_ATTR_MAX_VALUE_U:
		case NL_POLICY_TYPE_ATTR_MAX_VALUE_S:
		case NL_POLICY_TYPE_ATTR_MASK:
			policy->max = mnl_attr_get_u64(attr);
			break;
		case NL_POLICY_TYPE_ATTR_MIN_LENGTH:
			policy->min = mnl_attr_get_u32(attr);
			break;
		case NL_POLICY_TYPE_ATTR_MAX_LENGTH:
			policy->max = mnl_attr_get_u32(attr);
			break;
		case NL_POLICY_TYPE_ATTR_POLICY_IDX:
			policy->nested = mnl_attr_get_u32(attr);
			break;
		}
	}
}

static inline void policy_ops(struct policies *p, const struct nlattr *ops)
{
	struct nlattr *op, *attr;

	mnl_attr_for_each_nested(op, ops) {
		unsigned int cmd = mnl_attr_get_type(op);

		if (cmd >= CMDS)
			continue;
		mnl_attr_for_each_nested(attr, op) {
			if (mnl_attr_get_type(attr) == CTRL_ATTR_POLICY_DO) {
				p->has_do[cmd] = true;
				p->of_do[cmd] = mnl_attr_get_u32(attr);
			} else if (mnl_attr_get_type(attr) == CTRL_ATTR_POLICY_DUMP) {
				p->has_dump[cmd] = true;
				p->of_dump[cmd] = mnl_attr_get_u32(attr);
			}
		}
	}
}

static inline void policies_cb(const struct nlmsghdr *nlh, void *arg)
{
	struct policies *p = arg;
	struct nlattr *attr, *index, *type;

	mnl_attr_for_each(attr, nlh, sizeof(struct genlmsghdr)) {
		if (mnl_attr_get_type(attr) == CTRL_ATTR_OP_POLICY)
			policy_ops(p, attr);
		if (mnl_attr_get_type(attr) != CTRL_ATTR_POLICY)
			continue;
		mnl_attr_for_each_nested(index, attr) {
			mnl_attr_for_each_nested(type, index) {
				if (mnl_attr_get_type(index) < POLICIES &&
				    mnl_attr_get_type(type) < ATTRS)
					policy_attr(&p->attr[mnl_attr_get_type(index)]
							    [mnl_attr_get_type(type)], type);
			}
		}
	}
}

static inline int policies_read(struct policies *p, struct client *c)
{
	struct nlmsghdr *nlh = client_msg(c, GENL_ID_CTRL, CTRL_CMD_GETPOLICY, NLM_F_DUMP);

	mnl_attr_put_u16(nlh, CTRL_ATTR_FAMILY_ID, c->family);
	return client_talk(c, nlh, policies_cb, p);
}

enum place { PLACE_SESSION, PLACE_PEER, PLACE_PROFILE, PLACE_OTHER };

/* A value that means something where it stands; false for none. */
typedef bool meaning_fn(struct rnd *rnd, enum place place, uint16_t type, uint64_t *value);

struct composer {
	const struct policies *p;
	struct rnd *rnd;
	meaning_fn *meaning;
	struct nlmsghdr *nlh;
	uint8_t cmd;
	uint8_t bytes;		/* how long what has a length is, mostly */
};

static inline bool compose_room(const struct composer *co, size_t bytes)
{
	return co->nlh->nlmsg_len + bytes + 64 < MESSAGE_BYTES;
}

static inline uint64_t compose_value(struct composer *co, const struct attr_policy *policy,
				     enum place place, uint16_t type)
{
	uint64_t value, span = policy->max - policy->min;

	if (rnd_percent(co->rnd, 95) && co->meaning(co->rnd, place, type, &value))
		return value;
	switch (rnd_below(co->rnd, 60)) {
	case 0:
		return policy->min - 1;
	case 1:
		return policy->max + 1;
	case 2:
		return policy->max;
	case 3:
		return rnd_next(co->rnd) >> rnd_below(co->rnd, 64);
	default:
		return policy->min + rnd_below(co->rnd, span < 400 ? span + 1 : 400);
	}
}

static inline void compose_bytes(struct composer *co, const struct attr_policy *policy,
				 uint16_t type)
{
	uint64_t room = policy->max > 80 ? 80 : policy->max;
	uint8_t bytes[512];
	unsigned int i, len;

	len = rnd_percent(co->rnd, 90) ? co->bytes : rnd_percent(co->rnd, 50) ?
	      rnd_below(co->rnd, room + 1) : rnd_below(co->rnd, sizeof(bytes));
	/* Frames that look alike have something to match. */
	for (i = 0; i < len; i++)
		bytes[i] = rnd_percent(co->rnd, 70) ? 0 : rnd_next(co->rnd);
	if (compose_room(co, len))
		mnl_attr_put(co->nlh, type, len, bytes);
}

static inline void compose_nest(struct composer *co, int index, enum place place, int depth);

static inline void compose_attr(struct composer *co, int index, enum place place, uint16_t type,
				int depth)
{
	const struct attr_policy *policy = &co->p->attr[index][type];
	struct nlattr *nest;

	if (!compose_room(co, 64))
		return;
	switch (policy->type) {
	case NL_ATTR_TYPE_FLAG:
		mnl_attr_put(co->nlh, type, 0, NULL);
		break;
	case NL_ATTR_TYPE_U64:
		mnl_attr_put_u64(co->nlh, type, compose_value(co, policy, place, type));
		break;
	case NL_ATTR_TYPE_U32:
	case NL_ATTR_TYPE_S32:
		mnl_attr_put_u32(co->nlh, type, compose_value(co, policy, place, type));
		break;
	case NL_ATTR_TYPE_NESTED:
		nest = mnl_attr_nest_start(co->nlh, type);
		if (depth < 5)
			compose_nest(co, policy->nested,
				     place != PLACE_SESSION ? PLACE_OTHER :
				     type == SOCKBEAT_A_SESSION_PEER ? PLACE_PEER :
				     type == SOCKBEAT_A_SESSION_PROFILE ? PLACE_PROFILE : PLACE_OTHER,
				     depth + 1);
		mnl_attr_nest_end(co->nlh, nest);
		break;
	default:
		compose_bytes(co, policy, type);
	}
}

/* What requests take of a peer, which the policy of all of them does not say. */
static inline uint64_t peer_attrs(uint8_t cmd)
{
	uint64_t conf = 1ull << SOCKBEAT_A_PEER_TIMEOUT_MS | 1ull << SOCKBEAT_A_PEER_SOURCE |
			1ull << SOCKBEAT_A_PEER_TRIGGER | 1ull << SOCKBEAT_A_PEER_ACTION |
			1ull << SOCKBEAT_A_PEER_ACT_AFTER_MS | 1ull << SOCKBEAT_A_PEER_SUSPECT_PERCENT |
			1ull << SOCKBEAT_A_PEER_RENOTIFY_MS | 1ull << SOCKBEAT_A_PEER_ADAPTIVE_BEATS |
			1ull << SOCKBEAT_A_PEER_USER_DATA | 1ull << SOCKBEAT_A_PEER_PROFILE |
			1ull << SOCKBEAT_A_PEER_PROBE_AFTER_MS;

	switch (cmd) {
	case SOCKBEAT_CMD_PEER_ADD:
	case SOCKBEAT_CMD_PEER_SET:
		return conf;
	case SOCKBEAT_CMD_PEER_RECYCLE:
		return 1ull << SOCKBEAT_A_PEER_RECYCLE_DELAY_MS | 1ull << SOCKBEAT_A_PEER_END |
		       1ull << SOCKBEAT_A_PEER_HOLD;
	case SOCKBEAT_CMD_RECYCLE_EXTEND:
		return 1ull << SOCKBEAT_A_PEER_RECYCLE_DELAY_MS;
	case SOCKBEAT_CMD_PEER_END:
		return 1ull << SOCKBEAT_A_PEER_END;
	default:
		return 0;
	}
}

/* How likely an attribute is to be there. */
static inline uint32_t compose_odds(const struct composer *co, enum place place, uint16_t type)
{
	uint16_t key = co->cmd == SOCKBEAT_CMD_PEER_ADD ? SOCKBEAT_A_PEER_FD : SOCKBEAT_A_PEER_HANDLE;

	switch (place) {
	case PLACE_SESSION:
		switch (type) {
		case SOCKBEAT_A_SESSION_FD:
			return 93;
		case SOCKBEAT_A_SESSION_ID:
			return 3;
		case SOCKBEAT_A_SESSION_STATES:
		case SOCKBEAT_A_SESSION_FILTER:
			return 5;
		case SOCKBEAT_A_SESSION_PEER:
		case SOCKBEAT_A_SESSION_PROFILE:
		case SOCKBEAT_A_SESSION_CAPACITY:
			return 96;
		default:
			return 15;
		}
	case PLACE_PEER:
		return type == key ? 98 : peer_attrs(co->cmd) >> type & 1 ? 12 : 0;
	case PLACE_PROFILE:
		return type == SOCKBEAT_A_PROFILE_ID || type == SOCKBEAT_A_PROFILE_PATTERN ? 97 : 40;
	default:
		return 50;
	}
}

static inline void compose_nest(struct composer *co, int index, enum place place, int depth)
{
	unsigned int type, times;

	for (type = 1; type < ATTRS; type++) {
		if (!co->p->attr[index][type].type || !rnd_percent(co->rnd, compose_odds(co, place, type)))
			continue;
		times = 1;
		if (place == PLACE_SESSION && type == SOCKBEAT_A_SESSION_PEER && rnd_percent(co->rnd, 30))
			times += rnd_below(co->rnd, rnd_percent(co->rnd, 5) ? 300 : 4);
		while (times--)
			compose_attr(co, index, place, type, depth);
	}
	/* What does not belong here. */
	if (rnd_percent(co->rnd, 1) && compose_room(co, 64))
		mnl_attr_put(co->nlh, rnd_below(co->rnd, 70) | rnd_below(co->rnd, 4) << 14,
			     rnd_below(co->rnd, 12), "\x1\0\0\0\0\0\0\0\0\0\0");
}

/* Make a message worse. */
static inline void compose_damage(struct composer *co)
{
	struct nlmsghdr *nlh = co->nlh;
	uint32_t head = NLMSG_HDRLEN + GENL_HDRLEN, body = nlh->nlmsg_len - head;
	uint8_t *bytes = (uint8_t *)nlh + head;
	unsigned int i;

	if (!body)
		return;
	if (rnd_percent(co->rnd, 30)) {
		nlh->nlmsg_len -= rnd_below(co->rnd, body);
		return;
	}
	for (i = rnd_below(co->rnd, 4) + 1; i; i--)
		bytes[rnd_below(co->rnd, body)] ^= 1 << rnd_below(co->rnd, 8);
}

static inline uint8_t fuzz_cmd(const struct nlmsghdr *nlh)
{
	return ((struct genlmsghdr *)mnl_nlmsg_get_payload(nlh))->cmd % CMDS;
}

/* Put a message where there is room for MESSAGE_BYTES; returns what it took. */
static inline size_t fuzz_message(const struct policies *p, struct rnd *rnd, struct nlmsghdr *nlh,
				  uint16_t family, uint32_t seq, meaning_fn *meaning)
{
	struct composer co = { p, rnd, meaning, nlh, 0, 1 + rnd_below(rnd, 16) };
	struct genlmsghdr *genl;
	bool dump;

	co.cmd = rnd_percent(rnd, 20) ? SOCKBEAT_CMD_PEER_ADD : 1 + rnd_below(rnd, SOCKBEAT_CMD_MAX);
	if (rnd_percent(rnd, 1))
		co.cmd = rnd_next(rnd);
	dump = co.cmd < CMDS && p->has_dump[co.cmd] && rnd_percent(rnd, 40);
	mnl_nlmsg_put_header(nlh);
	nlh->nlmsg_type = family;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | (dump ? NLM_F_DUMP : 0);
	nlh->nlmsg_seq = seq;
	genl = mnl_nlmsg_put_extra_header(nlh, sizeof(*genl));
	genl->cmd = co.cmd;
	genl->version = rnd_percent(rnd, 98) ? 1 : rnd_next(rnd);
	if (co.cmd < CMDS && (dump || p->has_do[co.cmd]))
		compose_nest(&co, dump ? p->of_dump[co.cmd] : p->of_do[co.cmd], PLACE_SESSION, 0);
	if (rnd_percent(rnd, 8))
		compose_damage(&co);
	return MNL_ALIGN(nlh->nlmsg_len);
}

#endif /* SELFTESTS_NETLINK_POLICY_H */
