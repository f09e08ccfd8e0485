// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzzing sockbeatd's settings: whatever is in the file and behind --set, they
 * are refused with a reason or taken, and what was taken can be written and
 * read again.
 *
 * Input: a file, and a --set for each line that begins with "--set ".
 */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <unistd.h>

#include "config.h"
#include "fuzz.h"

#define SET		"\n--set "
#define SETS_MAX	4

static int file_fd = -1;
static char file_path[32];

static void write_file(const void *data, size_t len)
{
	if (file_fd < 0) {
		file_fd = memfd_create("fuzz_config", 0);
		CHECK(file_fd >= 0);
		snprintf(file_path, sizeof(file_path), "/proc/self/fd/%d", file_fd);
	}
	CHECK(!ftruncate(file_fd, 0));
	CHECK(pwrite(file_fd, data, len, 0) == (ssize_t)len);
}

static char *dump(const struct config *config, size_t *len)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, len);

	CHECK(out);
	config_dump(config, out);
	fclose(out);
	return text;
}

static void check_read_again(const struct config *config)
{
	size_t first_len, second_len;
	char error[CONFIG_ERROR_BYTES];
	struct config again;
	char *first, *second;

	first = dump(config, &first_len);
	write_file(first, first_len);
	if (config_load(&again, file_path, NULL, 0, error)) {
		fprintf(stderr, "%s\n%s", error, first);
		CHECK(!"what was dumped can be read");
	}
	second = dump(&again, &second_len);
	if (first_len != second_len || memcmp(first, second, first_len) != 0) {
		fprintf(stderr, "%s%s", first, second);
		CHECK(!"what was dumped is read as the same");
	}
	config_free(&again);
	free(first);
	free(second);
}

/* Nothing in a file that is taken hides what is written below it. */
static void check_last_counts(const char *file, size_t len)
{
	static const char last[] = "\nreactors = 64\n";
	char error[CONFIG_ERROR_BYTES], *text = malloc(len + strlen(last));
	struct config config;

	CHECK(text);
	if (len)
		memcpy(text, file, len);
	memcpy(text + len, last, strlen(last));
	write_file(text, len + strlen(last));
	CHECK(!config_load(&config, file_path, NULL, 0, error));
	CHECK(config.reactors == 64);
	config_free(&config);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char error[CONFIG_ERROR_BYTES];
	char *text, *sets[SETS_MAX], *next;
	const char *file;
	struct config config;
	size_t file_len, n = 0;
	int err;

	/* With a newline before it, so that the first line may be a --set. */
	text = malloc(size + 2);
	CHECK(text);
	text[0] = '\n';
	if (size)
		memcpy(text + 1, data, size);
	text[size + 1] = '\0';
	next = memmem(text, size + 1, SET, strlen(SET));
	file_len = next ? next - text : size + 1;
	while (next && n < SETS_MAX) {
		sets[n++] = next + strlen(SET);
		*next = '\0';
		next = memmem(sets[n - 1], text + size + 1 - sets[n - 1], SET, strlen(SET));
	}
	if (next)
		*next = '\0';

	file = NULL;
	if (file_len) {
		write_file(text + 1, file_len - 1);
		file = file_path;
	}
	memset(error, 'x', sizeof(error));
	err = config_load(&config, file, sets, n, error);
	if (err) {
		CHECK(err < 0);
		CHECK(memchr(error, '\0', sizeof(error)));
		CHECK(error[0]);
	} else {
		check_read_again(&config);
		if (file && !n)
			check_last_counts(text + 1, file_len - 1);
	}
	config_free(&config);
	free(text);
	return 0;
}
