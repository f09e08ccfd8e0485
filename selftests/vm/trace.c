// SPDX-License-Identifier: GPL-2.0-only
/*
 * A plugin for qemu: which instructions a guest executes between two marks.
 *
 * A mark is a no-op that no compiler makes, with a number from 1 to 15 for the
 * beginning of a stretch and 0 for its end (TRACE_MARK in bench_offload.c).  Of
 * the stretches of each number the shortest is kept, which no interrupt is in,
 * and written at the end: a line with the number, then an address each.
 *
 * Debian has no header for plugins; this is qemu's documented interface,
 * version 1 (https://www.qemu.org/docs/master/devel/tcg-plugins.html).
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARKS	16
#define LONGEST	65536

struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*qemu_plugin_exec_cb)(unsigned int cpu, void *data);

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*cb)(uint64_t id,
								    struct qemu_plugin_tb *tb));
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, qemu_plugin_exec_cb cb,
					    int flags, void *data);
void qemu_plugin_register_atexit_cb(uint64_t id, void (*cb)(uint64_t id, void *data), void *data);
int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv);

int qemu_plugin_version = 1;

struct stretch {
	size_t n;
	uint64_t pc[LONGEST];
};

static struct stretch now, shortest[MARKS];
static unsigned int mark;
static char path[4096];

static void on_insn(unsigned int cpu, void *pc)
{
	if (mark && now.n < LONGEST)
		now.pc[now.n++] = (uintptr_t)pc;
}

static void on_mark(unsigned int cpu, void *number)
{
	struct stretch *best = &shortest[mark];

	if (mark && now.n < LONGEST && (!best->n || now.n < best->n))
		*best = now;
	mark = (uintptr_t)number;
	now.n = 0;
}

static void on_translate(uint64_t id, struct qemu_plugin_tb *tb)
{
	static const uint8_t sign[] = { 0x0f, 0x1f, 0x84, 0x00, 'S', 'B', 'T' };

	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		const uint8_t *data = qemu_plugin_insn_data(insn);

		if (qemu_plugin_insn_size(insn) == sizeof(sign) + 1 &&
		    !memcmp(data, sign, sizeof(sign)))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark, 0,
				(void *)(uintptr_t)(data[sizeof(sign)] % MARKS));
		else
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_insn, 0,
				(void *)(uintptr_t)qemu_plugin_insn_vaddr(insn));
	}
}

static void on_exit_of_guest(uint64_t id, void *data)
{
	FILE *file = fopen(path, "w");

	for (int i = 1; file && i < MARKS; i++) {
		if (shortest[i].n)
			fprintf(file, "%d\n", i);
		for (size_t n = 0; n < shortest[i].n; n++)
			fprintf(file, "%016llx\n", (unsigned long long)shortest[i].pc[n]);
	}
	if (!file || fclose(file))
		fprintf(stderr, "trace: cannot write %s\n", path);
}

int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
	if (argc != 1 || strncmp(argv[0], "to=", 3)) {
		fprintf(stderr, "trace: to=FILE is wanted\n");
		return -1;
	}
	snprintf(path, sizeof(path), "%s", argv[0] + 3);
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
	qemu_plugin_register_atexit_cb(id, on_exit_of_guest, NULL);
	return 0;
}
