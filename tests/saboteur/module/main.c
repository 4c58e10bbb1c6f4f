// SPDX-License-Identifier: GPL-2.0
/*
 * Makes a sound kernel faulty: one fault, chosen by the parameter `fault`, for as long as the module is loaded.
 *
 *   insmod saboteur.ko fault=first amount=200 every=10
 *
 * With fault=none all probes are in place and none changes anything.
 */
#include <linux/kallsyms.h>
#include <linux/module.h>
#include <linux/string.h>

#include "saboteur.h"

static char *fault = "none";
module_param(fault, charp, 0444);
MODULE_PARM_DESC(fault, "which fault");
long amount;
module_param(amount, long, 0444);
MODULE_PARM_DESC(amount, "by how much, in microseconds");
unsigned int percent = 100;
module_param(percent, uint, 0444);
MODULE_PARM_DESC(percent, "to how many percent of what it is");
static unsigned int every = 1;
module_param(every, uint, 0444);
MODULE_PARM_DESC(every, "each time, or one in so many");
char *way = "";
module_param(way, charp, 0444);
MODULE_PARM_DESC(way, "name of the interface whose qdisc errs (all)");
static unsigned long could;
module_param(could, ulong, 0444);
MODULE_PARM_DESC(could, "how often the fault could have acted");
static unsigned long hits;
module_param(hits, ulong, 0444);
MODULE_PARM_DESC(hits, "how often it has acted");
unsigned long refused;
module_param(refused, ulong, 0444);
MODULE_PARM_DESC(refused, "how often it could not act, because the kernel's structures are not those that it knows");

static const struct part *const parts[] = {
	&samples_part, &estimator_part, &send_part, &packet_part, &receive_part, &info_part, &netem_part, &timer_part,
};
static bool started[ARRAY_SIZE(parts)];

bool due(void)
{
	could++;
	if (could % every)
		return false;
	hits++;
	return true;
}

static void end(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(parts); i++) {
		if (started[i])
			parts[i]->stop();
		started[i] = false;
	}
}

static int begin(int i, void *apply)
{
	int failed = parts[i]->start(apply);

	if (failed)
		pr_err("saboteur: part %d of fault %s cannot be put in place (%d)\n", i, fault, failed);
	started[i] = !failed;
	return failed;
}

static int __init saboteur_init(void)
{
	const struct fault *each;
	int i, failed = 0;

	if (!every)
		return -EINVAL;
	if (!strcmp(fault, "none")) {
		for (i = 0; i < ARRAY_SIZE(parts) && !failed; i++)
			failed = begin(i, NULL);
		if (failed)
			end();
		return failed;
	}
	for (i = 0; i < ARRAY_SIZE(parts); i++)
		for (each = parts[i]->faults; each->name; each++)
			if (!strcmp(fault, each->name))
				return begin(i, each->apply);
	pr_err("saboteur: there is no fault %s\n", fault);
	return -EINVAL;
}

static void __exit saboteur_exit(void)
{
	end();
}

module_init(saboteur_init);
module_exit(saboteur_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Makes a kernel's TCP round-trip times, or its netem, wrong on purpose");

/* Finding places by the code itself: neither the calls nor the returns of a function have a name. */

static u8 *address_of(const char *function)
{
	struct kprobe at = { .symbol_name = function };
	u8 *found = NULL;

	if (!register_kprobe(&at)) {
		found = (u8 *)at.addr;
		unregister_kprobe(&at);
	}
	return found;
}

/* Bytes of the function that begins at `start`. */
static size_t size_of(u8 *start)
{
	char text[KSYM_SYMBOL_LEN];
	const char *slash;
	unsigned long size = 0;

	sprint_symbol(text, (unsigned long)start);
	slash = strrchr(text, '/');
	/* The name of a module may follow. */
	if (slash)
		size = simple_strtoul(slash + 1, NULL, 16);
	return size;
}

/* Bytes that only look like what we look for lie inside of an instruction, and there no kprobe can be. */
static int place(u8 *at, kprobe_pre_handler_t handler, struct kprobe *into)
{
	memset(into, 0, sizeof(*into));
	into->addr = (kprobe_opcode_t *)at;
	into->pre_handler = handler;
	return register_kprobe(into);
}

static u8 *aim_of(u8 *at)
{
	return at + 5 + *(s32 *)(at + 1);
}

int probe_calls(const char *caller, const char *target, kprobe_pre_handler_t handler, struct kprobe *into, int most)
{
	u8 *start = address_of(caller), *aim = address_of(target), *at;
	int found = 0;

	if (!start || !aim)
		return -ENOENT;
	for (at = start; at + 5 <= start + size_of(start) && found < most; at++)
		if ((*at == 0xe8 || *at == 0xe9) && aim_of(at) == aim && !place(at, handler, &into[found]))
			found++;
	return found ?: -ENOENT;
}

int probe_body(const char *function, kprobe_pre_handler_t handler, struct kprobe *into)
{
	static const u8 endbr[] = { 0xf3, 0x0f, 0x1e, 0xfa };
	u8 *start = address_of(function);

	if (!start)
		return -ENOENT;
	if (!memcmp(start, endbr, sizeof(endbr)))
		start += sizeof(endbr);
	return place(start + 5, handler, into) ?: 1;
}

int probe_returns(const char *function, kprobe_pre_handler_t handler, struct kprobe *into, int most)
{
	u8 *start = address_of(function), *at, *end;
	int found = 0;

	if (!start)
		return -ENOENT;
	end = start + size_of(start);
	for (at = start; at < end && found < most; at++) {
		/* A return is one, or a jump to a thunk for one, which lies elsewhere. */
		bool leaves = *at == 0xc3 || (*at == 0xe9 && at + 5 <= end && (aim_of(at) < start || aim_of(at) >= end));

		if (leaves && !place(at, handler, &into[found]))
			found++;
	}
	return found ?: -ENOENT;
}

void drop_probes(struct kprobe *probes, int count)
{
	while (count-- > 0)
		unregister_kprobe(&probes[count]);
}
