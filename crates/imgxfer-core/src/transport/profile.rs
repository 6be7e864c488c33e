//! Settings of QUIC for kinds of line, as measured in the project's transport study.

use crate::limits::{IDLE_TIMEOUT, KEEP_ALIVE};
use crate::transport::congestion::{Gauge, RateControlFactory};
use crate::transport::udp::receiving::WINDOW_FIRST;
use crate::transport::udp::socket::BufferSizes;
use quinn::congestion::{ControllerFactory, CubicConfig};
use quinn::{MtuDiscoveryConfig, TransportConfig, VarInt};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What kind of line an endpoint stands on. Sets windows, buffers and bursts; never what is allowed.
///
/// | | `Copper` | `Auto` | `Fibre` |
/// |---|---|---|---|
/// | a peer may have on the way to us at most, as its rate asks for it; 4 MiB at first | 4 MiB | 32 MiB | 64 MiB |
/// | of which on one stream | 1 MiB | 4 MiB | 4 MiB |
/// | we hold for a peer, unacknowledged, at first | 2 MiB | 32 MiB | 64 MiB |
/// | data streams at once | 32 | 64 | 64 |
/// | socket buffers, receive and send | 1 MiB, 256 KiB | 4 MiB, 4 MiB | 4 MiB, 4 MiB |
///
/// The first and third row are the worst-case memory of one session in this layer. While a transfer sends,
/// [`Session::adapt_windows`](crate::transport::Session::adapt_windows) holds the third at 1/4 to 16 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Profile {
    /// ADSL, VDSL, LTE: below about 80 Mbit/s. Small windows keep queues, and so delays, short.
    Copper,
    /// 1 Gbit/s and more over distance: windows for 10 Gbit/s at 50 ms.
    Fibre,
    /// Good for 1 Gbit/s at 250 ms and harmless below; the default.
    #[default]
    Auto,
}

/// What decides how much of a line a connection uses.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Congestion {
    /// Our own: fills lossy lines, keeps queues short, knows a background.
    #[default]
    Rate,
    /// Cubic (RFC 9438): for lines where our own turns out wrong. Has no background, and slows down at each loss.
    Cubic,
    /// The caller's.
    Custom(Arc<dyn ControllerFactory + Send + Sync>),
}

impl fmt::Debug for Congestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rate => "Rate",
            Self::Cubic => "Cubic",
            Self::Custom(_) => "Custom(..)",
        })
    }
}

/// Size of a UDP payload that any path must carry (RFC 9000, 14) and the search starts from.
const MTU_FIRST: u16 = 1200;
/// Before the first measurement. QUIC's 333 ms makes the first loss on any line cost a second.
const RTT_FIRST: Duration = Duration::from_millis(100);
/// Control streams that a peer may have open at once.
const CONTROL_STREAMS_MAX: u32 = 16;
/// Segments of one burst on copper: more fills the modem's queue at once.
const BURST_SEGMENTS_COPPER: usize = 4;

const MIB: u32 = 1 << 20;

/// The numbers behind a [`Profile`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    stream_window: u32,
    pub(super) receive_window: u32,
    send_window: u32,
    data_streams: u32,
    /// Cubic's first window; our own finds its out.
    cubic_packets: u16,
    /// Datagrams of one burst.
    pub(super) segments_max: usize,
    pub(super) buffers: BufferSizes,
}

impl Profile {
    /// The numbers of this profile.
    pub(super) const fn settings(self) -> Settings {
        let fibre_buffers = BufferSizes { receive: 4 << 20, send: 4 << 20 };
        match self {
            Self::Copper => Settings {
                stream_window: MIB,
                receive_window: 4 * MIB,
                send_window: 2 * MIB,
                data_streams: 32,
                cubic_packets: 10,
                segments_max: BURST_SEGMENTS_COPPER,
                buffers: BufferSizes { receive: 1 << 20, send: 256 << 10 },
            },
            // A stream window above 4 MiB can trip quinn's limit of 1,024 gaps, which ends the connection.
            Self::Fibre => Settings {
                stream_window: 4 * MIB,
                receive_window: 64 * MIB,
                send_window: 64 * MIB,
                data_streams: 64,
                cubic_packets: 32,
                segments_max: usize::MAX,
                buffers: fibre_buffers,
            },
            Self::Auto => Settings {
                stream_window: 4 * MIB,
                receive_window: 32 * MIB,
                send_window: 32 * MIB,
                data_streams: 64,
                cubic_packets: 32,
                segments_max: usize::MAX,
                buffers: fibre_buffers,
            },
        }
    }
}

impl Settings {
    /// The congestion control of one connection, steered by `gauge` if it is ours.
    pub(super) fn congestion(
        &self,
        kind: &Congestion,
        gauge: &Arc<Gauge>,
        mtu_upper: u16,
    ) -> Arc<dyn ControllerFactory + Send + Sync> {
        match kind {
            Congestion::Rate => Arc::new(RateControlFactory::new(Arc::clone(gauge), mtu_upper)),
            Congestion::Cubic => {
                let mut cubic = CubicConfig::default();
                cubic.initial_window(u64::from(self.cubic_packets) * u64::from(MTU_FIRST));
                Arc::new(cubic)
            }
            Congestion::Custom(factory) => Arc::clone(factory),
        }
    }

    /// QUIC's settings.
    pub(super) fn transport(
        &self,
        mtu_upper: u16,
        congestion: Arc<dyn ControllerFactory + Send + Sync>,
    ) -> TransportConfig {
        let mut mtu = MtuDiscoveryConfig::default();
        mtu.upper_bound(mtu_upper);
        let mut config = TransportConfig::default();
        config
            .stream_receive_window(VarInt::from_u32(self.stream_window))
            .receive_window(VarInt::from_u32(self.receive_window.min(WINDOW_FIRST)))
            .send_window(self.send_window.into())
            .max_concurrent_uni_streams(VarInt::from_u32(self.data_streams))
            .max_concurrent_bidi_streams(VarInt::from_u32(CONTROL_STREAMS_MAX))
            // Without it a stream that was begun goes before all others, whatever their priority.
            .send_fairness(true)
            .initial_mtu(MTU_FIRST)
            .mtu_discovery_config(Some(mtu))
            .initial_rtt(RTT_FIRST)
            .max_idle_timeout(IDLE_TIMEOUT.try_into().ok())
            .keep_alive_interval(Some(KEEP_ALIVE))
            .datagram_receive_buffer_size(None)
            .congestion_controller_factory(congestion);
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_idle_timeout_is_taken() {
        let timeout: Result<quinn::IdleTimeout, _> = IDLE_TIMEOUT.try_into();
        assert!(timeout.is_ok());
    }
}
