/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Structured log: one line an entry, `TIME LEVEL message key=value ...`,
 * each written by one write(2) so that lines of threads never mix.
 */
#ifndef SOCKBEAT_LOG_H
#define SOCKBEAT_LOG_H

#include <stdbool.h>

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

int log_open(const char *path, enum log_level level);
int log_reopen(void);
unsigned long long log_lost(void);
bool log_wants(enum log_level level);
void log_line(enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#define log_error(...)		log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...)	log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)		log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)		log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif /* SOCKBEAT_LOG_H */
