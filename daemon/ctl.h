/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sockbeatctl: what its files share. Each command is a file ctl_COMMAND.c; below
 * them lie ctl_kernel.c (requests), ctl_fields.c (what attributes are called
 * and how they are written), ctl_filter.c and ctl_session.c.
 */
#ifndef SOCKBEAT_CTL_H
#define SOCKBEAT_CTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <argp.h>
#include <jansson.h>
#include <linux/sockbeat.h>

#include "address.h"
#include "channel.h"

/* What the program ends with; argp's own complaints are usage too. */
enum {
	CTL_DONE = 0,
	CTL_FAILED = 1,
	CTL_USAGE = 2,
};

/* Above every attribute's type. */
#define CTL_TYPES	64

/* Handles in one request, which does all or nothing: what a channel sends. */
#define CTL_HANDLES_MAX	200

#define CTL_TEXT_CHARS	64
#define CTL_COMM_CHARS	32

/* As option keys: those without a letter. */
enum {
	CTL_OPTION_END = 0x100,
	CTL_OPTION_BUFFER,
};

/**
 * struct ctl - the module, spoken to
 * @family: number of the netlink family
 * @group: number of the group `monitor`
 * @ch: for requests
 */
struct ctl {
	uint16_t family;
	uint32_t group;
	struct channel ch;
};

/**
 * struct ctl_attrs - attributes by type, as long as the message lasts
 * @tb: NULL where there is none
 */
struct ctl_attrs {
	const struct nlattr *tb[CTL_TYPES];
};

/**
 * enum ctl_kind - how an attribute is written
 * @CTL_NUMBER: as a number of 32 or 64 bits
 * @CTL_SIGNED: of 32 bits, with a sign
 * @CTL_HEX: of 64 bits, 0x...
 * @CTL_HANDLE: generation:index
 * @CTL_NAME: one of a list of names
 * @CTL_FLAG: whether it is there
 * @CTL_BOOL: a number that is 0 or 1
 * @CTL_ADDR: an address without port
 */
enum ctl_kind {
	CTL_NUMBER,
	CTL_SIGNED,
	CTL_HEX,
	CTL_HANDLE,
	CTL_NAME,
	CTL_FLAG,
	CTL_BOOL,
	CTL_ADDR,
};

/**
 * struct ctl_field - an attribute
 * @name: as in the spec, with _ for -; NULL at a table's end
 * @type: of the attribute
 * @kind: how it is written
 * @may_set: `set` takes it
 * @names: for CTL_NAME, by value, ending with NULL
 */
struct ctl_field {
	const char *name;
	uint16_t type;
	enum ctl_kind kind;
	bool may_set;
	const char *const *names;
};

/**
 * struct ctl_session - a session, as it was when it was asked for
 * @id: its name
 * @pid: its process, 0 for one that is not seen from here
 * @comm: that one's name, fit to be shown, "-" for none
 * @raw_comm: the same as it is
 * @copy: the message that the others point into
 * @attrs: its attributes
 * @stats: its counters
 */
struct ctl_session {
	uint32_t id;
	uint32_t pid;
	char comm[CTL_COMM_CHARS];
	char raw_comm[CTL_COMM_CHARS];
	void *copy;
	struct ctl_attrs attrs;
	struct ctl_attrs stats;
};

/**
 * struct ctl_sessions - those that the caller may see, by id
 * @at: they
 * @n: how many
 */
struct ctl_sessions {
	struct ctl_session *at;
	size_t n;
};

/**
 * struct ctl_end - what one end of a connection has to be
 * @addr: its address
 * @len: of that, 0 for any
 * @prefix: bits that count
 * @port: its port, -1 for any
 */
struct ctl_end {
	uint8_t addr[16];
	unsigned int len;
	unsigned int prefix;
	int port;
};

/**
 * struct ctl_filter - which peers are listed
 * @given: the words that were taken, a mask
 * @states: a mask, 0 for all
 * @family: AF_INET, AF_INET6 or AF_UNSPEC
 * @idle_ms: not heard for so long
 * @local: this end
 * @remote: the other
 * @has_session: only of the session @session
 * @session: see above
 * @pid: only of this process' sessions, 0 for any
 * @process: only of sessions of processes of that name, or NULL
 */
struct ctl_filter {
	uint32_t given;
	uint32_t states;
	uint32_t family;
	uint64_t idle_ms;
	struct ctl_end local;
	struct ctl_end remote;
	bool has_session;
	uint32_t session;
	uint32_t pid;
	const char *process;
};

/* ctl.c */
int ctl_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
bool ctl_number(const char *text, uint64_t max, uint64_t *value);
bool ctl_handle(const char *text, uint64_t *handle);
void ctl_parse(const struct argp *argp, int argc, char **argv, void *input);
uint32_t ctl_take_session(struct argp_state *state, const char *text);
uint64_t ctl_take_handle(struct argp_state *state, const char *text);
uint64_t ctl_take_count(struct argp_state *state, const char *text);

/* ctl_kernel.c */
int ctl_open(struct ctl *ctl);
void ctl_close(struct ctl *ctl);
int ctl_request_failed(struct ctl *ctl, const char *what, int err);
void ctl_attrs_parse(struct ctl_attrs *attrs, const void *data, size_t len);
void ctl_attrs_nested(struct ctl_attrs *attrs, const struct nlattr *nest);
uint64_t ctl_attrs_number(const struct ctl_attrs *attrs, unsigned int type);
struct nlmsghdr *ctl_session_request(struct ctl *ctl, uint8_t cmd, uint16_t flags, uint32_t id);
int ctl_watch_signals(void);

/* ctl_session.c */
int ctl_sessions_get(struct ctl *ctl, struct ctl_sessions *sessions);
void ctl_sessions_free(struct ctl_sessions *sessions);
const struct ctl_session *ctl_sessions_find(const struct ctl_sessions *sessions, uint32_t id);
int ctl_session_unknown(uint32_t id);
const char *ctl_session_process(const struct ctl_session *session, char text[CTL_TEXT_CHARS]);
const char *ctl_session_guard(const struct ctl_session *session);
json_t *ctl_peer_json(const struct ctl_session *session, const struct ctl_attrs *peer);
json_t *ctl_session_json(const struct ctl_session *session);

/* ctl_fields.c */
extern const struct ctl_field ctl_peer_fields[];
extern const struct ctl_field ctl_session_fields[];
extern const struct ctl_field ctl_stats_fields[];
extern const struct ctl_field ctl_event_fields[];
extern const char *const ctl_state_names[];
extern const char *const ctl_end_names[];

const char *ctl_field_text(const struct ctl_field *field, const struct ctl_attrs *attrs,
			   char text[CTL_TEXT_CHARS]);
bool ctl_field_given(const struct ctl_field *field, const struct ctl_attrs *attrs);
void ctl_fields_json(json_t *object, const struct ctl_field *fields, const struct ctl_attrs *attrs);
const char *ctl_handle_text(uint64_t handle, char text[CTL_TEXT_CHARS]);
int ctl_name_value(const char *const *names, const char *text);
int ctl_print_json(json_t *value);
void ctl_print_element(json_t *value, bool first);

/* ctl_filter.c */
void ctl_filter_init(struct ctl_filter *filter);
const char *ctl_filter_parse(struct ctl_filter *filter, const char *text);
const char *ctl_filter_family(struct ctl_filter *filter, uint32_t family);
void ctl_filter_put(struct nlmsghdr *nlh, const struct ctl_filter *filter);

/* One for each command. */
int ctl_list(int argc, char **argv);
int ctl_show(int argc, char **argv);
int ctl_show_sessions(int argc, char **argv);
int ctl_stats(int argc, char **argv);
int ctl_monitor(int argc, char **argv);
int ctl_top(int argc, char **argv);
int ctl_set(int argc, char **argv);
int ctl_recycle(int argc, char **argv);
int ctl_abort(int argc, char **argv);

#endif /* SOCKBEAT_CTL_H */
