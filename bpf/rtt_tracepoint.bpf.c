/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Records the estimators' state through the tracepoint tcp:tcp_probe, on kernels where nothing else works.
 *
 * It fires in tcp_rcv_established() for each incoming segment, before that segment's ACK is processed: the state is the
 * result of earlier ACKs. It has no sample, and does not fire in handshakes and closings.
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "rtt_record.h"

static __always_inline void came(const __u64 *args)
{
	const struct rtt_config *cfg = current_config();
	const struct inet_connection_sock *icsk = (const void *)args[0];
	const struct tcp_sock *tp = (const void *)args[0];
	struct rtt_reading saw = {};

	if (!cfg || !is_watched(cfg, (const void *)args[0]))
		return;
	saw.sk = args[0];
	saw.first_rtt_us = saw.sack_rtt_us = saw.last_rtt_us = saw.rs_rtt_us = saw.sample_us = saw.counted_us = -1;
	saw.srtt_us = BPF_CORE_READ(tp, srtt_us);
	saw.rto_jiffies = BPF_CORE_READ(icsk, icsk_rto);
	saw.backoff = BPF_CORE_READ(icsk, icsk_backoff);
	saw.watch = cfg->watch;
	saw.hook = RTT_HOOK_TRACEPOINT;
	record(cfg, &saw);
}

SEC("tp_btf/tcp_probe")
int rtt_tp_btf(__u64 *ctx)
{
	came(ctx);
	return 0;
}

SEC("raw_tp/tcp_probe")
int rtt_raw_tp(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 args[1] = { ctx->args[0] };

	came(args);
	return 0;
}
