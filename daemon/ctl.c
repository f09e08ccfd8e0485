// SPDX-License-Identifier: BSD-3-Clause
/*
 * sockbeatctl: shows what the module tracks and tells it what to do.
 * Documentation/man/sockbeatctl.8 has all of it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"

const char *argp_program_version = "sockbeatctl " SOCKBEAT_VERSION;

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *doc;
} commands[] = {
	{ "list", ctl_list, "peers, of all sessions that you may see" },
	{ "show", ctl_show, "all that is known of a peer" },
	{ "sessions", ctl_show_sessions, "sessions and their settings" },
	{ "stats", ctl_stats, "counters, of one session or summed" },
	{ "monitor", ctl_monitor, "events, as they happen" },
	{ "top", ctl_top, "rates of each session, again and again" },
	{ "set", ctl_set, "change settings of a session or of a peer" },
	{ "recycle", ctl_recycle, "end peers and put their slots into quarantine" },
	{ "abort", ctl_abort, "reset peers' connections" },
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

/**
 * struct chosen - the command line, split
 * @command: what is wanted
 * @argc: of that command
 * @argv: likewise
 */
struct chosen {
	const struct command *command;
	int argc;
	char **argv;
};

/**
 * ctl_fail - say on stderr why a command fails
 * @fmt: as for printf()
 *
 * Return: CTL_FAILED.
 */
int ctl_fail(const char *fmt, ...)
{
	va_list args;

	/* What was shown before stands before. */
	fflush(stdout);
	fputs("sockbeatctl: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	return CTL_FAILED;
}

/**
 * ctl_number - read a number, decimal or 0x...
 * @text: all of it
 * @max: the greatest that is taken
 * @value: set
 *
 * Return: whether it is one.
 */
bool ctl_number(const char *text, uint64_t max, uint64_t *value)
{
	bool is_hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	const char *digits = is_hex ? "0123456789abcdefABCDEF" : "0123456789";
	const char *start = text + (is_hex ? 2 : 0);

	if (!*start || start[strspn(start, digits)])
		return false;
	errno = 0;
	*value = strtoull(start, NULL, is_hex ? 16 : 10);
	return !errno && *value <= max;
}

/**
 * ctl_handle - read a handle
 * @text: generation:index, both in hexadecimal, or 0x...
 * @handle: set
 *
 * Return: whether it is one.
 */
bool ctl_handle(const char *text, uint64_t *handle)
{
	const char *colon = strchr(text, ':');
	char part[2][11] = { "0x", "0x" };
	uint64_t value[2];
	size_t len;

	if (!colon)
		return text[0] == '0' && (text[1] == 'x' || text[1] == 'X') &&
		       ctl_number(text, UINT64_MAX, handle);
	len = colon - text;
	if (len > 8 || strlen(colon + 1) > 8)
		return false;
	memcpy(part[0] + 2, text, len);
	strcpy(part[1] + 2, colon + 1);
	if (!ctl_number(part[0], UINT32_MAX, &value[0]) ||
	    !ctl_number(part[1], UINT32_MAX, &value[1]))
		return false;
	*handle = value[0] << 32 | value[1];
	return true;
}

/* What several commands take. Each ends with CTL_USAGE where it is wrong. */

uint32_t ctl_take_session(struct argp_state *state, const char *text)
{
	uint64_t id = 0;

	if (!ctl_number(text, UINT32_MAX, &id))
		argp_error(state, "\"%s\" is not a session's id", text);
	return id;
}

uint64_t ctl_take_handle(struct argp_state *state, const char *text)
{
	uint64_t handle = 0;

	if (!ctl_handle(text, &handle))
		argp_error(state, "\"%s\" is not a handle: GENERATION:INDEX, both hexadecimal, or 0x...", text);
	return handle;
}

uint64_t ctl_take_count(struct argp_state *state, const char *text)
{
	uint64_t count = 0;

	if (!ctl_number(text, UINT32_MAX, &count) || !count)
		argp_error(state, "--count: \"%s\" is not a number in the range 1..%u", text, UINT32_MAX);
	return count;
}

/**
 * ctl_parse - read a command's arguments, or end with CTL_USAGE
 * @argp: what it takes
 * @argc: of the command, whose name is the first
 * @argv: likewise
 * @input: for @argp
 */
void ctl_parse(const struct argp *argp, int argc, char **argv, void *input)
{
	char name[CTL_TEXT_CHARS], *command = argv[0];

	/* So argp names what it complains of. */
	snprintf(name, sizeof(name), "sockbeatctl %s", command);
	argv[0] = name;
	argp_parse(argp, argc, argv, 0, NULL, input);
	argv[0] = command;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct chosen *chosen = state->input;

	switch (key) {
	case ARGP_KEY_ARG:
		for (size_t i = 0; i < COMMANDS; i++) {
			if (!strcmp(arg, commands[i].name))
				chosen->command = &commands[i];
		}
		if (!chosen->command)
			argp_error(state, "\"%s\" is no command", arg);
		chosen->argc = state->argc - state->next + 1;
		chosen->argv = state->argv + state->next - 1;
		state->next = state->argc;
		break;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "a command is missing");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

/* argp's text behind its options: the commands. */
static char *help_filter(int key, const char *text, void *input)
{
	char *list = NULL;
	size_t size = 0;
	FILE *f;

	(void)input;
	if (key != ARGP_KEY_HELP_POST_DOC)
		return (char *)text;
	f = open_memstream(&list, &size);
	if (!f)
		return (char *)text;
	fputs("Commands (sockbeatctl COMMAND --help tells more):\n", f);
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(f, "  %-10s %s\n", commands[i].name, commands[i].doc);
	fputs("\nEnds with 0 when all was done, 1 when something failed or was not found, 2 for a wrong command line.", f);
	fclose(f);
	return list;
}

static const struct argp argp = {
	.parser = parse_option,
	.args_doc = "COMMAND [ARGUMENT...]",
	.doc = "Show what the sockbeat module tracks, and tell it what to do.\v ",
	.help_filter = help_filter,
};

int main(int argc, char **argv)
{
	struct chosen chosen = { 0 };
	int status;

	argp_err_exit_status = CTL_USAGE;
	argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &chosen);
	status = chosen.command->run(chosen.argc, chosen.argv);
	if ((fflush(stdout) || ferror(stdout)) && status == CTL_DONE)
		status = ctl_fail("write: %s", strerror(errno));
	return status;
}
