//! Views: one event, or one quote of two events, as a strategy's callback receives it. How they are used again stands in
//! `view_reuse.rs`; they compute nothing but natural numbers for people.

use pyo3::prelude::*;
use tickd_core::event::{Event, Kind, PRICE_UNDEF, SIZE_UNDEF};

use crate::view_reuse::{natural, Shown, View};

const fn letter(side: u8) -> &'static str {
    match side {
        b'B' => "B",
        b'A' => "A",
        _ => "N",
    }
}

/// Nothing has been put into the view yet.
const NOTHING: Event = Event::new(Kind::Trade, 0, 0, 0, 0);

/// A view of one event: the same getters for each class.
macro_rules! event_view {
    ($(#[$doc:meta])* $name:ident { $($more:tt)* }) => {
        $(#[$doc])*
        #[pyclass(frozen, module = "tickd._native")]
        pub struct $name(Shown<Event>);

        impl View for $name {
            type Content = Event;

            fn empty() -> Self {
                $name(Shown::new(NOTHING))
            }

            #[inline]
            fn shown(&self) -> &Shown<Event> {
                &self.0
            }
        }

        #[pymethods]
        impl $name {
            #[getter]
            fn instrument(&self, py: Python<'_>) -> u32 {
                self.0.get(py).instrument
            }

            #[getter]
            fn seq(&self, py: Python<'_>) -> u64 {
                self.0.get(py).seq
            }

            #[getter]
            fn id(&self, py: Python<'_>) -> u64 {
                self.0.get(py).id
            }

            #[getter]
            fn ts_event_ns(&self, py: Python<'_>) -> i64 {
                self.0.get(py).ts_event
            }

            #[getter]
            fn ts_recv_ns(&self, py: Python<'_>) -> i64 {
                self.0.get(py).ts_recv
            }

            #[getter]
            fn price(&self, py: Python<'_>) -> i64 {
                self.0.get(py).price
            }

            #[getter]
            fn size(&self, py: Python<'_>) -> i64 {
                self.0.get(py).size
            }

            #[getter]
            fn side(&self, py: Python<'_>) -> &'static str {
                letter(self.0.get(py).side)
            }

            #[getter]
            fn flags(&self, py: Python<'_>) -> u16 {
                self.0.get(py).flags
            }

            #[getter]
            fn kind(&self, py: Python<'_>) -> u8 {
                self.0.get(py).kind
            }

            fn __repr__(&self, py: Python<'_>) -> String {
                let event = self.0.get(py);
                format!(
                    "{}(seq={}, instrument={}, side={}, price={}, size={})",
                    stringify!($name), event.seq, event.instrument, letter(event.side), event.price, event.size
                )
            }

            $($more)*
        }
    };
}

event_view! {
    /// A trade; `side` is the aggressor's.
    Trade {
        /// Price as a float, for people and indicators; never for sums of money.
        #[getter]
        fn price_f(&self, py: Python<'_>) -> f64 {
            natural(self.0.get(py).price, self.0.scales(py).price)
        }

        /// Size as a float.
        #[getter]
        fn size_f(&self, py: Python<'_>) -> f64 {
            natural(self.0.get(py).size, self.0.scales(py).size)
        }

        /// Fills it stands for.
        #[getter]
        fn fills(&self, py: Python<'_>) -> i64 {
            self.0.get(py).aux
        }
    }
}

event_view! {
    /// A last value of the cache: mark, index, funding, open interest, liquidation, status.
    Value {
        /// See `native/core/src/event.rs`: decimals of a price that is not in the instrument's scale, a status code, …
        #[getter]
        fn aux(&self, py: Python<'_>) -> i64 {
            self.0.get(py).aux
        }
    }
}

event_view! {
    /// A value of an indicator.
    Signal {
        /// The value; NaN where there is none.
        #[getter]
        fn value(&self, py: Python<'_>) -> f64 {
            f64::from_bits(self.0.get(py).id)
        }

        /// Number of the indicator's definition.
        #[getter]
        fn indicator(&self, py: Python<'_>) -> i64 {
            self.0.get(py).aux
        }
    }
}

event_view! {
    /// What became of an order.
    Order {
        /// The number that `submit` returned.
        #[getter]
        fn client_id(&self, py: Python<'_>) -> u64 {
            self.0.get(py).id
        }

        /// `OrderState` as an integer.
        #[getter]
        fn state(&self, py: Python<'_>) -> i64 {
            self.0.get(py).aux
        }

        /// Whether it tells of a fill.
        #[getter]
        fn is_fill(&self, py: Python<'_>) -> bool {
            let event = self.0.get(py);
            event.price != PRICE_UNDEF && event.size != SIZE_UNDEF
        }
    }
}

/// The best bid and offer, both sides of one message.
#[pyclass(frozen, module = "tickd._native")]
pub struct Quote(Shown<(Event, Event)>);

impl View for Quote {
    type Content = (Event, Event);

    fn empty() -> Self {
        Quote(Shown::new((NOTHING, NOTHING)))
    }

    #[inline]
    fn shown(&self) -> &Shown<(Event, Event)> {
        &self.0
    }
}

#[pymethods]
impl Quote {
    #[getter]
    fn instrument(&self, py: Python<'_>) -> u32 {
        self.0.get(py).1.instrument
    }

    /// Of the second record.
    #[getter]
    fn seq(&self, py: Python<'_>) -> u64 {
        self.0.get(py).1.seq
    }

    #[getter]
    fn id(&self, py: Python<'_>) -> u64 {
        self.0.get(py).1.id
    }

    #[getter]
    fn ts_event_ns(&self, py: Python<'_>) -> i64 {
        self.0.get(py).1.ts_event
    }

    #[getter]
    fn ts_recv_ns(&self, py: Python<'_>) -> i64 {
        self.0.get(py).1.ts_recv
    }

    #[getter]
    fn flags(&self, py: Python<'_>) -> u16 {
        self.0.get(py).1.flags
    }

    #[getter]
    fn bid_price(&self, py: Python<'_>) -> i64 {
        self.0.get(py).0.price
    }

    #[getter]
    fn bid_size(&self, py: Python<'_>) -> i64 {
        self.0.get(py).0.size
    }

    #[getter]
    fn ask_price(&self, py: Python<'_>) -> i64 {
        self.0.get(py).1.price
    }

    #[getter]
    fn ask_size(&self, py: Python<'_>) -> i64 {
        self.0.get(py).1.size
    }

    /// `(bid price, bid size, ask price, ask size)` as floats: what the indicators take, in one call.
    fn floats(&self, py: Python<'_>) -> (f64, f64, f64, f64) {
        let ((bid, ask), scales) = (self.0.get(py), self.0.scales(py));
        (
            natural(bid.price, scales.price),
            natural(bid.size, scales.size),
            natural(ask.price, scales.price),
            natural(ask.size, scales.size),
        )
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let (bid, ask) = self.0.get(py);
        format!(
            "Quote(seq={}, instrument={}, bid={}x{}, ask={}x{})",
            ask.seq, ask.instrument, bid.price, bid.size, ask.price, ask.size
        )
    }
}

/// Adds the views to the module.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<Trade>()?;
    m.add_class::<Quote>()?;
    m.add_class::<Signal>()?;
    m.add_class::<Order>()?;
    m.add_class::<Value>()
}
