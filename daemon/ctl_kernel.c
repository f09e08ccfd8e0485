// SPDX-License-Identifier: BSD-3-Clause
/*
 * sockbeatctl: the module's netlink family, and the attributes that it sends.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <linux/genetlink.h>

#include "ctl.h"

static uint32_t find_group(const struct nlattr *groups)
{
	const struct nlattr *group, *name;
	struct ctl_attrs attrs;

	if (!groups)
		return 0;
	mnl_attr_for_each_nested(group, groups) {
		ctl_attrs_nested(&attrs, group);
		name = attrs.tb[CTRL_ATTR_MCAST_GRP_NAME];
		if (name && !mnl_attr_validate(name, MNL_TYPE_NUL_STRING) &&
		    !strcmp(mnl_attr_get_str(name), SOCKBEAT_MCGRP_MONITOR))
			return ctl_attrs_number(&attrs, CTRL_ATTR_MCAST_GRP_ID);
	}
	return 0;
}

static int read_family(const void *data, size_t len, void *arg)
{
	struct ctl_attrs attrs;
	struct ctl *ctl = arg;

	ctl_attrs_parse(&attrs, data, len);
	if (!attrs.tb[CTRL_ATTR_FAMILY_ID] ||
	    !attr_read(attrs.tb[CTRL_ATTR_FAMILY_ID], &ctl->family, sizeof(ctl->family)))
		return -EBADMSG;
	ctl->group = find_group(attrs.tb[CTRL_ATTR_MCAST_GROUPS]);
	return 0;
}

/**
 * ctl_open - find the module
 * @ctl: filled in
 *
 * Return: CTL_DONE, to be followed by ctl_close(), or CTL_FAILED, which was
 * said.
 */
int ctl_open(struct ctl *ctl)
{
	int err;

	memset(ctl, 0, sizeof(*ctl));
	if (channel_open(&ctl->ch, 0))
		return ctl_fail("%s", ctl->ch.text);
	err = channel_resolve(&ctl->ch, SOCKBEAT_FAMILY_NAME, read_family, ctl);
	if (!err)
		return CTL_DONE;
	if (err == -ENOENT)
		ctl_fail("module not loaded: no generic netlink family '%s'", SOCKBEAT_FAMILY_NAME);
	else
		ctl_fail("generic netlink: %s", ctl->ch.text);
	ctl_close(ctl);
	return CTL_FAILED;
}

/**
 * ctl_close - undo ctl_open()
 * @ctl: the module
 */
void ctl_close(struct ctl *ctl)
{
	channel_close(&ctl->ch);
}

/**
 * ctl_request_failed - say on stderr that a request failed
 * @ctl: the module
 * @what: what it was about
 * @err: what channel_request() returned
 *
 * Return: CTL_FAILED.
 */
int ctl_request_failed(struct ctl *ctl, const char *what, int err)
{
	return ctl_fail("%s: %s", what, ctl->ch.text[0] ? ctl->ch.text : strerror(-err));
}

/**
 * ctl_attrs_parse - sort attributes by type
 * @attrs: filled in
 * @data: the first
 * @len: of them all; what is malformed at their end is left out
 */
void ctl_attrs_parse(struct ctl_attrs *attrs, const void *data, size_t len)
{
	attrs_parse(data, len, attrs->tb, CTL_TYPES - 1);
}

/**
 * ctl_attrs_nested - the same for those in a nest
 * @attrs: filled in
 * @nest: the nest, or NULL for none
 */
void ctl_attrs_nested(struct ctl_attrs *attrs, const struct nlattr *nest)
{
	memset(attrs, 0, sizeof(*attrs));
	if (nest)
		ctl_attrs_parse(attrs, mnl_attr_get_payload(nest), mnl_attr_get_payload_len(nest));
}

/**
 * ctl_attrs_number - a number of 32 or 64 bits
 * @attrs: attributes
 * @type: which
 *
 * Return: the number, 0 where there is none.
 */
uint64_t ctl_attrs_number(const struct ctl_attrs *attrs, unsigned int type)
{
	uint64_t value = 0;
	uint32_t small = 0;

	if (attr_read(attrs->tb[type], &small, sizeof(small)))
		return small;
	attr_read(attrs->tb[type], &value, sizeof(value));
	return value;
}

/**
 * ctl_session_request - begin a request on a session
 * @ctl: the module
 * @cmd: what is wanted
 * @flags: as for channel_begin()
 * @id: the session
 *
 * Return: the request, for attributes to be added.
 */
struct nlmsghdr *ctl_session_request(struct ctl *ctl, uint8_t cmd, uint16_t flags, uint32_t id)
{
	struct nlmsghdr *nlh = channel_begin(&ctl->ch, ctl->family, cmd, flags);

	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_ID, id);
	return nlh;
}

/**
 * ctl_watch_signals - let SIGINT and SIGTERM be a descriptor that can be read
 *
 * Return: the descriptor, or -1 with errno.
 */
int ctl_watch_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -1;
	return signalfd(-1, &set, SFD_CLOEXEC);
}
