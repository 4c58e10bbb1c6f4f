// SPDX-License-Identifier: GPL-2.0
/*
 * Faults of the link: netem does other than it was told, and says that it does what it was told.
 *
 * Its settings are changed for as long as netem_enqueue() looks at one packet, which is under the qdisc's lock, and put
 * back before it returns. Late timers are the other way: qdisc_watchdog_schedule_range_ns().
 */
#include <linux/kmod.h>
#include <linux/math64.h>
#include <linux/netdevice.h>
#include <linux/prandom.h>
#include <linux/rbtree.h>
#include <linux/reciprocal_div.h>
#include <linux/version.h>
#include <net/pkt_sched.h>
#include <net/sch_generic.h>

#include "saboteur.h"

struct disttable;

struct correlation {
	u32 last, rho;
};

/*
 * The parts of struct netem_sched_data that matter, which net/sched/sch_netem.c has to itself. is_known() refuses
 * another layout than these.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 2, 0)
struct netem {
	struct rb_root t_root;
	struct sk_buff *t_head, *t_tail;
	u32 t_len, counter;
	s64 latency, jitter;
	u64 rate;
	u32 gap, loss, duplicate, reorder, corrupt, ecn;
	struct correlation correlations[5];
	u8 loss_model;
	struct {
		u64 seed;
		struct rnd_state state;
	} prng;
	struct disttable *delay_dist;
	struct {
		u64 next;
		u32 packets, bytes;
	} slot;
	struct disttable *slot_dist;
	struct Qdisc *qdisc;
	s32 packet_overhead;
	u32 cell_size;
	struct reciprocal_value cell_size_reciprocal;
	s32 cell_overhead;
	u32 limit;
};
#else
struct netem {
	struct rb_root t_root;
	struct sk_buff *t_head, *t_tail;
	/* Since the fix of the queue limit: 5.10.258, 6.1.175, 6.12.91. */
	u32 t_len;
	struct Qdisc *qdisc;
	struct qdisc_watchdog watchdog;
	s64 latency, jitter;
	u32 loss, ecn, limit, counter, gap, duplicate, reorder, corrupt;
	u64 rate;
	s32 packet_overhead;
	u32 cell_size;
	struct reciprocal_value cell_size_reciprocal;
	s32 cell_overhead;
	struct correlation correlations[5];
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	struct {
		u64 seed;
		struct rnd_state state;
	} prng;
#endif
	struct disttable *delay_dist;
};
#endif

struct passage {
	struct netem *netem; /* NULL where nothing was changed */
	s64 latency, jitter;
	u32 loss, reorder, gap;
	u64 rate;
	struct disttable *delay_dist;
};

typedef void (*link_fault)(struct netem *netem, const struct sk_buff *skb, const struct net_device *device);

static link_fault fault;

static bool is_known(const struct netem *netem, const struct Qdisc *sch)
{
	return netem->limit == sch->limit && netem->latency >= 0 && netem->latency < 100 * (s64)NSEC_PER_SEC &&
	       netem->jitter >= 0 && netem->jitter <= INT_MAX;
}

static u64 part_of(u64 value)
{
	return div_u64(value * percent, 100);
}

static void late(struct netem *netem, const struct sk_buff *skb, const struct net_device *device)
{
	/* No packet can be earlier than at once. */
	if (netem->latency + amount * NSEC_PER_USEC >= 0 && due())
		netem->latency += amount * NSEC_PER_USEC;
}

/* Packets of full size only: a rate that nobody has asked for. */
static void late_large(struct netem *netem, const struct sk_buff *skb, const struct net_device *device)
{
	if (skb->len >= 1400)
		late(netem, skb, device);
}

/* From one direction to the other: the round trip stays what it was. */
static void moved(struct netem *netem, const struct sk_buff *skb, const struct net_device *device)
{
	s64 by = amount * NSEC_PER_USEC;

	if (netem->latency >= by && due())
		netem->latency += strcmp(device->name, "to-server") ? -by : by;
}

static void latency(struct netem *netem, const struct sk_buff *skb, const struct net_device *device)
{
	if (netem->latency && due())
		netem->latency = part_of(netem->latency);
}

static void jitter(struct netem *netem, const struct sk_buff *skb, const struct net_device *device)
{
	if (netem->jitter && due())
		netem->jitter = part_of(netem->jitter);
}

static void jitter_added(struct netem *netem, const struct sk_buff *skb, const struct net_device *device)
{
	if (netem->latency && !netem->jitter && due())
		netem->jitter = amount * NSEC_PER_USEC;
}

static void no_distribution(struct netem *netem, const struct sk_buff *skb, const struct net_device *device)
{
	if (netem->jitter && netem->delay_dist && due())
		netem->delay_dist = NULL;
}

static void loss(struct netem *netem, const struct sk_buff *skb, const struct net_device *device)
{
	if (netem->loss && due())
		netem->loss = part_of(netem->loss);
}

static void loss_added(struct netem *netem, const struct sk_buff *skb, const struct net_device *device)
{
	if (netem->latency && !netem->loss && due())
		netem->loss = part_of(U32_MAX);
}

static void rate(struct netem *netem, const struct sk_buff *skb, const struct net_device *device)
{
	if (netem->rate && due())
		netem->rate = part_of(netem->rate);
}

static void reorder(struct netem *netem, const struct sk_buff *skb, const struct net_device *device)
{
	if (netem->reorder && due())
		netem->reorder = part_of(netem->reorder);
}

static int at_enqueue(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	struct passage *passage = (void *)instance->data;
	const struct sk_buff *skb = (const void *)regs->di;
	struct Qdisc *sch = (void *)regs->si;
	struct netem *netem = qdisc_priv(sch);
	const struct net_device *device = qdisc_dev(sch);

	passage->netem = NULL;
	if (!fault || (*way && strcmp(way, device->name)))
		return 0;
	if (!is_known(netem, sch)) {
		refused++;
		return 0;
	}
	*passage = (struct passage){
		.netem = netem,
		.latency = netem->latency,
		.jitter = netem->jitter,
		.loss = netem->loss,
		.reorder = netem->reorder,
		.gap = netem->gap,
		.rate = netem->rate,
		.delay_dist = netem->delay_dist,
	};
	fault(netem, skb, device);
	return 0;
}

static int after_enqueue(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	const struct passage *passage = (const void *)instance->data;
	struct netem *netem = passage->netem;

	if (!netem)
		return 0;
	netem->latency = passage->latency;
	netem->jitter = passage->jitter;
	netem->loss = passage->loss;
	netem->reorder = passage->reorder;
	netem->gap = passage->gap;
	netem->rate = passage->rate;
	netem->delay_dist = passage->delay_dist;
	return 0;
}

static struct kretprobe probe;

static int start(void *apply)
{
	fault = apply;
	request_module("sch_netem");
	memset(&probe, 0, sizeof(probe));
	probe.kp.symbol_name = "netem_enqueue";
	probe.entry_handler = at_enqueue;
	probe.handler = after_enqueue;
	probe.data_size = sizeof(struct passage);
	probe.maxactive = 64;
	return register_kretprobe(&probe);
}

static void stop(void)
{
	unregister_kretprobe(&probe);
}

static const struct fault faults[] = {
	{ "late", late },
	{ "late_large", late_large },
	{ "moved", moved },
	{ "latency", latency },
	{ "jitter", jitter },
	{ "jitter_added", jitter_added },
	{ "no_distribution", no_distribution },
	{ "loss", loss },
	{ "loss_added", loss_added },
	{ "rate", rate },
	{ "reorder", reorder },
	{}
};

const struct part netem_part = { .faults = faults, .start = start, .stop = stop };

static bool timer_fault;

static int at_schedule(struct kprobe *kprobe, struct pt_regs *regs)
{
	if (timer_fault && due())
		regs->si += amount * NSEC_PER_USEC;
	return 0;
}

static struct kprobe timer_probe;

static int timer_start(void *apply)
{
	timer_fault = apply;
	memset(&timer_probe, 0, sizeof(timer_probe));
	timer_probe.symbol_name = "qdisc_watchdog_schedule_range_ns";
	timer_probe.pre_handler = at_schedule;
	return register_kprobe(&timer_probe);
}

static void timer_stop(void)
{
	unregister_kprobe(&timer_probe);
}

static const struct fault timer_faults[] = { { "timer", &timer_fault }, {} };

const struct part timer_part = { .faults = timer_faults, .start = timer_start, .stop = timer_stop };
