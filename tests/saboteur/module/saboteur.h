/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the parts of the saboteur share: one fault is chosen when the module is loaded, and each part owns the faults of
 * one place in the kernel.
 */
#ifndef SABOTEUR_H
#define SABOTEUR_H

#include <linux/kprobes.h>
#include <linux/types.h>

struct fault {
	const char *name;
	/* The part's own type of function, which the part knows. */
	void *apply;
};

/* One place in the kernel and its faults, ended by an empty name. start() is told what to do there, NULL for nothing. */
struct part {
	const struct fault *faults;
	int (*start)(void *apply);
	void (*stop)(void);
};

extern const struct part samples_part, estimator_part, send_part, packet_part, receive_part, info_part, netem_part,
	timer_part;

extern long amount;	     /* microseconds, or what a fault says */
extern unsigned int percent; /* of what the kernel has */
extern char *way;	     /* the interface whose qdisc errs; empty for all */
extern unsigned long refused; /* how often a structure was not the one that a part knows */

/* Called where a fault could act: whether it does this time, by the parameter `every`. */
bool due(void);

/*
 * kprobes on all calls of `target` in `caller`, so that whatever hangs on the target itself, before or after us, sees
 * what the caller has handed over. Returns how many there are, or a negative error.
 */
int probe_calls(const char *caller, const char *target, kprobe_pre_handler_t handler, struct kprobe *into, int most);

/* kprobes just behind the ftrace call at the head of `function`, and on all its returns; as above. */
int probe_body(const char *function, kprobe_pre_handler_t handler, struct kprobe *into);
int probe_returns(const char *function, kprobe_pre_handler_t handler, struct kprobe *into, int most);
void drop_probes(struct kprobe *probes, int count);

#endif
