// SPDX-License-Identifier: GPL-2.0-only
/*
 * Offload profiles: reading them out of requests.
 *
 * A profile is replaced as a whole, under RCU: a heartbeat that arrives
 * meanwhile meets the old one or the new one.
 */
#include <linux/slab.h>

#include "netlink.h"

static int sb_pattern_bytes(const struct nlattr *attr, u8 *bytes, u8 *len,
			    struct netlink_ext_ack *extack)
{
	if (!attr)
		return 0;
	if (nla_len(attr) > SOCKBEAT_MAX_FRAME_BYTES) {
		sb_extack(extack, attr, "more than 64 bytes");
		return -EINVAL;
	}
	*len = nla_len(attr);
	memcpy(bytes, nla_data(attr), *len);
	return 0;
}

static int sb_pattern_parse(struct sb_pattern *pattern, const struct nlattr *attr,
			    struct netlink_ext_ack *extack)
{
	struct nlattr *tb[SOCKBEAT_A_PATTERN_MAX + 1];
	u8 mask_len = 0;
	unsigned int i;
	int err;

	err = nla_parse_nested(tb, SOCKBEAT_A_PATTERN_MAX, attr,
			       sockbeat_pattern_nl_policy, extack);
	if (!err)
		err = sb_pattern_bytes(tb[SOCKBEAT_A_PATTERN_VALUE],
				       pattern->value, &pattern->len, extack);
	if (!err)
		err = sb_pattern_bytes(tb[SOCKBEAT_A_PATTERN_MASK],
				       pattern->mask, &mask_len, extack);
	if (!err)
		err = sb_pattern_bytes(tb[SOCKBEAT_A_PATTERN_REPLY],
				       pattern->reply, &pattern->reply_len, extack);
	if (err)
		return err;
	if (!tb[SOCKBEAT_A_PATTERN_MASK]) {
		memset(pattern->mask, 0xff, pattern->len);
	} else if (mask_len != pattern->len) {
		sb_extack(extack, tb[SOCKBEAT_A_PATTERN_MASK],
			  "a pattern's mask has to be as long as its value");
		return -EINVAL;
	}
	for (i = 0; i < pattern->len; i++)
		pattern->value[i] &= pattern->mask[i];
	if (tb[SOCKBEAT_A_PATTERN_COPY_FROM])
		pattern->copy_from = nla_get_u32(tb[SOCKBEAT_A_PATTERN_COPY_FROM]);
	if (tb[SOCKBEAT_A_PATTERN_COPY_TO])
		pattern->copy_to = nla_get_u32(tb[SOCKBEAT_A_PATTERN_COPY_TO]);
	if (tb[SOCKBEAT_A_PATTERN_COPY_BYTES])
		pattern->copy_bytes = nla_get_u32(tb[SOCKBEAT_A_PATTERN_COPY_BYTES]);
	pattern->answers_probe = tb[SOCKBEAT_A_PATTERN_ANSWERS_PROBE];
	return 0;
}

/* The attributes of the request's profile, which has to have an id. */
static int sb_profile_attrs(struct nlattr **tb, struct genl_info *info)
{
	const struct nlattr *attr = info->attrs[SOCKBEAT_A_SESSION_PROFILE];
	int err;

	if (!attr) {
		NL_SET_ERR_MSG(info->extack, "request names no profile");
		return -EINVAL;
	}
	err = nla_parse_nested(tb, SOCKBEAT_A_PROFILE_MAX, attr,
			       sockbeat_profile_nl_policy, info->extack);
	if (err)
		return err;
	if (!tb[SOCKBEAT_A_PROFILE_ID]) {
		sb_extack(info->extack, attr, "profile without id");
		return -EINVAL;
	}
	return 0;
}

static int sb_profile_parse(struct sb_profile *profile, struct nlattr **tb,
			    struct genl_info *info)
{
	const struct nlattr *nest = info->attrs[SOCKBEAT_A_SESSION_PROFILE];
	const struct nlattr *attr;
	const char *why;
	int rem, err;

	err = sb_pattern_bytes(tb[SOCKBEAT_A_PROFILE_PROBE], profile->probe,
			       &profile->probe_len, info->extack);
	if (err)
		return err;
	if (tb[SOCKBEAT_A_PROFILE_MIN_INTERVAL_MS])
		profile->min_interval_ms =
			nla_get_u32(tb[SOCKBEAT_A_PROFILE_MIN_INTERVAL_MS]);
	nla_for_each_nested(attr, nest, rem) {
		if (nla_type(attr) != SOCKBEAT_A_PROFILE_PATTERN)
			continue;
		if (profile->n_patterns == SOCKBEAT_MAX_PATTERNS) {
			sb_extack(info->extack, attr,
				  "a profile has to have 1 to 4 patterns");
			return -E2BIG;
		}
		err = sb_pattern_parse(&profile->pattern[profile->n_patterns++],
				       attr, info->extack);
		if (err)
			return err;
	}
	why = sb_profile_check(profile);
	if (why) {
		sb_extack(info->extack, nest, why);
		return -EINVAL;
	}
	return 0;
}

/* Put a profile, or NULL, in the place of another; returns the other. */
static struct sb_session_profile *
sb_profile_replace(struct sb_session *session, u32 id,
		   struct sb_session_profile *new)
{
	struct sb_session_profile *old;

	spin_lock_bh(&session->lock);
	old = rcu_replace_pointer(session->profile[id], new,
				  lockdep_is_held(&session->lock));
	spin_unlock_bh(&session->lock);
	return old;
}

/* As sb_request_begin(), and read the profile's attributes. */
static int sb_profile_begin(struct sb_request *req, struct nlattr **tb,
			    struct sk_buff *skb, struct genl_info *info)
{
	int err = sb_request_begin(req, skb, info, 0, 0);

	if (err)
		return err;
	err = sb_profile_attrs(tb, info);
	if (err)
		sb_request_end(req);
	return err;
}

int sockbeat_nl_profile_set_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct nlattr *tb[SOCKBEAT_A_PROFILE_MAX + 1];
	struct sb_session_profile *new, *old;
	struct sb_request req;
	int err;

	err = sb_profile_begin(&req, tb, skb, info);
	if (err)
		return err;
	new = kzalloc(sizeof(*new), GFP_KERNEL_ACCOUNT);
	if (!new) {
		err = -ENOMEM;
		goto end;
	}
	err = sb_profile_parse(&new->profile, tb, info);
	old = new;
	if (!err) {
		new->is_echo = sb_profile_is_echo(&new->profile);
		old = sb_profile_replace(req.session,
					 nla_get_u32(tb[SOCKBEAT_A_PROFILE_ID]), new);
	}
	if (old)
		kfree_rcu(old, rcu);
end:
	sb_request_end(&req);
	return err;
}

int sockbeat_nl_profile_del_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct nlattr *tb[SOCKBEAT_A_PROFILE_MAX + 1];
	struct sb_session_profile *old;
	struct sb_request req;
	int err;

	err = sb_profile_begin(&req, tb, skb, info);
	if (err)
		return err;
	old = sb_profile_replace(req.session,
				 nla_get_u32(tb[SOCKBEAT_A_PROFILE_ID]), NULL);
	if (old) {
		kfree_rcu(old, rcu);
	} else {
		err = -ENOENT;
		sb_extack(info->extack, tb[SOCKBEAT_A_PROFILE_ID],
			  "session has no such profile");
	}
	sb_request_end(&req);
	return err;
}
