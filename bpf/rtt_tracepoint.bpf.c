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

static __always_inline void came(const struct sock *sk, bool direct)
{
	const struct rtt_config *cfg = current_config();
	const struct inet_connection_sock *icsk = (const void *)sk;
	const struct tcp_sock *tp = (const void *)sk;
	struct rtt_reading saw = {};

	if (!cfg || !is_watched(cfg, sk, direct))
		return;
	saw.sk = sk;
	saw.first_rtt_us = saw.sack_rtt_us = saw.last_rtt_us = saw.rs_rtt_us = saw.sample_us = saw.counted_us = -1;
	saw.srtt_us = READ(tp, srtt_us);
	saw.rto_jiffies = READ(icsk, icsk_rto);
	saw.backoff = READ(icsk, icsk_backoff);
	saw.watch = cfg->watch;
	saw.hook = RTT_HOOK_TRACEPOINT;
	record(cfg, &saw, NULL, direct);
}

SEC("tp_btf/tcp_probe")
int rtt_tp_btf(__u64 *ctx)
{
	/* The verifier knows a full TCP socket's type only from the helper. */
	const struct sock *sk = (const void *)bpf_skc_to_tcp_sock((void *)ctx[0]);

	if (sk)
		came(sk, true);
	return 0;
}

SEC("raw_tp/tcp_probe")
int rtt_raw_tp(struct bpf_raw_tracepoint_args *ctx)
{
	came((const void *)ctx->args[0], false);
	return 0;
}
