// SPDX-License-Identifier: GPL-2.0
/* Faults of TCP_INFO: what tcp_get_info() tells of a state that is right. */
#include <linux/math64.h>
#include <net/tcp.h>

#include "saboteur.h"

typedef void (*info_fault)(struct tcp_info *info);

static info_fault fault;

static void info_rtt(struct tcp_info *info)
{
	if (info->tcpi_rtt && due())
		info->tcpi_rtt += amount;
}

static void info_rttvar(struct tcp_info *info)
{
	if (info->tcpi_rtt && due())
		info->tcpi_rttvar += amount;
}

static void info_minimum(struct tcp_info *info)
{
	if (info->tcpi_min_rtt != ~0U && due())
		info->tcpi_min_rtt += amount;
}

static void info_rto(struct tcp_info *info)
{
	if (info->tcpi_rto && due())
		info->tcpi_rto = div_u64((u64)info->tcpi_rto * percent, 100);
}

static int at_entry(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	*(struct tcp_info **)instance->data = (struct tcp_info *)regs->si;
	return 0;
}

static int at_return(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	if (fault)
		fault(*(struct tcp_info **)instance->data);
	return 0;
}

static struct kretprobe probe;

static int start(void *apply)
{
	fault = apply;
	memset(&probe, 0, sizeof(probe));
	probe.kp.symbol_name = "tcp_get_info";
	probe.entry_handler = at_entry;
	probe.handler = at_return;
	probe.data_size = sizeof(struct tcp_info *);
	probe.maxactive = 64;
	return register_kretprobe(&probe);
}

static void stop(void)
{
	unregister_kretprobe(&probe);
}

static const struct fault faults[] = {
	{ "info_rtt", info_rtt },
	{ "info_rttvar", info_rttvar },
	{ "info_minimum", info_minimum },
	{ "info_rto", info_rto },
	{}
};

const struct part info_part = { .faults = faults, .start = start, .stop = stop };
