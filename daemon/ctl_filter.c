// SPDX-License-Identifier: BSD-3-Clause
/*
 * sockbeatctl: which peers are listed. The kernel looks at state, idle time,
 * family, addresses and ports; session and process decide which sessions it
 * is asked about.
 */
#include <arpa/inet.h>
#include <string.h>

#include "ctl.h"

/**
 * ctl_filter_init - a filter that all peers fit
 * @filter: set
 */
void ctl_filter_init(struct ctl_filter *filter)
{
	memset(filter, 0, sizeof(*filter));
	filter->local.port = -1;
	filter->remote.port = -1;
}

/**
 * ctl_filter_family - only addresses of this family
 * @filter: the filter
 * @family: AF_INET or AF_INET6
 *
 * Return: NULL, or what is wrong with it.
 */
const char *ctl_filter_family(struct ctl_filter *filter, uint32_t family)
{
	if (filter->family && filter->family != family)
		return "no peer is of both address families";
	filter->family = family;
	return NULL;
}

/* What comes last of ADDRESS[/PREFIX][:PORT] is cut off the text. */
static bool cut_number(char *text, char before, uint64_t max, int *value)
{
	char *at = strrchr(text, before);
	uint64_t number;

	if (!at)
		return true;
	if (!ctl_number(at + 1, max, &number))
		return false;
	*value = (int)number;
	*at = '\0';
	return true;
}

/* An IPv6 socket's IPv4 peer is IPv4 to the kernel. */
static void unmap(struct ctl_end *end)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (end->len != 16 || end->prefix < 96 || memcmp(end->addr, mapped, sizeof(mapped)) != 0)
		return;
	memmove(end->addr, end->addr + 12, 4);
	end->len = 4;
	end->prefix -= 96;
}

/* The text without its brackets, which a prefix may follow or end; NULL for
 * some that do not match.
 */
static char *strip_brackets(char *text)
{
	char *bracket = strchr(text, ']');

	if (!bracket || (bracket[1] && bracket[1] != '/'))
		return NULL;
	memmove(bracket, bracket + 1, strlen(bracket));
	return text + 1;
}

/* V4[/PREFIX][:PORT], [V6][/PREFIX][:PORT], V6[/PREFIX], :PORT; * is any address. */
static bool parse_end(struct ctl_end *end, const char *from)
{
	char buf[INET6_ADDRSTRLEN + 16], *text = buf, *bracket;
	bool is_v6, has_port;
	int prefix = -1;

	if (strlen(from) >= sizeof(buf))
		return false;
	strcpy(buf, from);
	bracket = strchr(text, ']');
	is_v6 = text[0] == '[' || strchr(text, ':') != strrchr(text, ':');
	has_port = bracket ? strchr(bracket, ':') != NULL : !is_v6;
	if (has_port && !cut_number(text, ':', 65535, &end->port))
		return false;
	if (text[0] == '[')
		text = strip_brackets(text);
	if (!text || !cut_number(text, '/', 128, &prefix))
		return false;
	if (!is_v6 && (!*text || !strcmp(text, "*")))
		return prefix < 0 && end->port >= 0;
	end->len = is_v6 ? 16 : 4;
	if (inet_pton(is_v6 ? AF_INET6 : AF_INET, text, end->addr) != 1 ||
	    prefix > (int)end->len * 8)
		return false;
	end->prefix = prefix < 0 ? end->len * 8 : (unsigned int)prefix;
	unmap(end);
	return true;
}

static const char *take_end(struct ctl_filter *filter, struct ctl_end *end, const char *text)
{
	if (!parse_end(end, text))
		return "it is not ADDRESS[/PREFIX][:PORT], with IPv6 addresses before a port in brackets, or :PORT";
	if (!end->len)
		return NULL;
	return ctl_filter_family(filter, end->len == 4 ? AF_INET : AF_INET6);
}

static const char *take_states(struct ctl_filter *filter, const char *text)
{
	char name[16];
	size_t len;
	int state;

	for (;; text += len + 1) {
		len = strcspn(text, ",");
		if (len >= sizeof(name))
			break;
		memcpy(name, text, len);
		name[len] = '\0';
		state = ctl_name_value(ctl_state_names, name);
		if (state < 0)
			break;
		filter->states |= 1u << state;
		if (!text[len])
			return NULL;
	}
	return "it is not one or more, with commas between, of: live, silent, gone, recycling";
}

static const char *take_idle(struct ctl_filter *filter, const char *text)
{
	static const struct {
		const char *unit;
		uint64_t ms;
	} units[] = { { "", 1 }, { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 } };
	size_t digits = strspn(text, "0123456789");
	char number[16];
	uint64_t value;

	for (size_t i = 0; digits && digits < sizeof(number) && i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(text + digits, units[i].unit) != 0)
			continue;
		memcpy(number, text, digits);
		number[digits] = '\0';
		if (!ctl_number(number, UINT64_MAX / units[i].ms, &value))
			break;
		filter->idle_ms = value * units[i].ms;
		return NULL;
	}
	return "it is not a time: a number, and ms (if nothing else), s, m or h";
}

static const char *take_family(struct ctl_filter *filter, const char *text)
{
	if (!strcmp(text, "inet"))
		return ctl_filter_family(filter, AF_INET);
	if (!strcmp(text, "inet6"))
		return ctl_filter_family(filter, AF_INET6);
	return "it is not one of: inet, inet6";
}

static const char *take_local(struct ctl_filter *filter, const char *text)
{
	return take_end(filter, &filter->local, text);
}

static const char *take_remote(struct ctl_filter *filter, const char *text)
{
	return take_end(filter, &filter->remote, text);
}

static const char *take_session(struct ctl_filter *filter, const char *text)
{
	uint64_t id;

	if (!ctl_number(text, UINT32_MAX, &id))
		return "it is not a session's id";
	filter->has_session = true;
	filter->session = id;
	return NULL;
}

static const char *take_pid(struct ctl_filter *filter, const char *text)
{
	uint64_t pid;

	if (!ctl_number(text, INT32_MAX, &pid) || !pid)
		return "it is not a process id";
	filter->pid = pid;
	return NULL;
}

static const char *take_process(struct ctl_filter *filter, const char *text)
{
	filter->process = text;
	return *text ? NULL : "it is empty";
}

/**
 * ctl_filter_parse - add what a word asks for
 * @filter: the filter
 * @text: NAME=VALUE
 *
 * Return: NULL, or what is wrong with it.
 */
const char *ctl_filter_parse(struct ctl_filter *filter, const char *text)
{
	static const struct {
		const char *name;
		const char *(*take)(struct ctl_filter *filter, const char *text);
	} words[] = {
		{ "state=", take_states }, { "idle=", take_idle }, { "family=", take_family },
		{ "local=", take_local }, { "remote=", take_remote }, { "session=", take_session },
		{ "pid=", take_pid }, { "process=", take_process },
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		size_t len = strlen(words[i].name);

		if (strncmp(text, words[i].name, len) != 0)
			continue;
		if (filter->given & 1u << i)
			return "it is given twice";
		filter->given |= 1u << i;
		return words[i].take(filter, text + len);
	}
	return "a filter is one of: state=, idle=, family=, local=, remote=, session=, pid=, process=";
}

static void put_end(struct nlmsghdr *nlh, const struct ctl_end *end, uint16_t addr, uint16_t prefix,
		    uint16_t port)
{
	if (end->len) {
		mnl_attr_put(nlh, addr, end->len, end->addr);
		mnl_attr_put_u32(nlh, prefix, end->prefix);
	}
	if (end->port >= 0)
		mnl_attr_put_u32(nlh, port, end->port);
}

/**
 * ctl_filter_put - add to a dump what the kernel filters by
 * @nlh: the request
 * @filter: the filter
 */
void ctl_filter_put(struct nlmsghdr *nlh, const struct ctl_filter *filter)
{
	struct nlattr *nest;

	if (filter->states)
		mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_STATES, filter->states);
	nest = mnl_attr_nest_start(nlh, SOCKBEAT_A_SESSION_FILTER);
	if (filter->idle_ms)
		mnl_attr_put_u64(nlh, SOCKBEAT_A_FILTER_IDLE_MS, filter->idle_ms);
	if (filter->family)
		mnl_attr_put_u32(nlh, SOCKBEAT_A_FILTER_FAMILY, filter->family);
	put_end(nlh, &filter->local, SOCKBEAT_A_FILTER_LOCAL_ADDR,
		SOCKBEAT_A_FILTER_LOCAL_PREFIX, SOCKBEAT_A_FILTER_LOCAL_PORT);
	put_end(nlh, &filter->remote, SOCKBEAT_A_FILTER_REMOTE_ADDR,
		SOCKBEAT_A_FILTER_REMOTE_PREFIX, SOCKBEAT_A_FILTER_REMOTE_PORT);
	mnl_attr_nest_end(nlh, nest);
}
