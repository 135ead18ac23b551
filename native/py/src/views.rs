//! Views: one event, or one quote of two events, as a strategy's callback receives it. How they are used again stands in
//! `view_reuse.rs`; they compute nothing but natural numbers for people.

use std::cell::Cell;

use pyo3::prelude::*;
use tickd_core::event::{Event, Kind, PRICE_UNDEF, SIZE_UNDEF};

use crate::view_reuse::{natural, Scales, View};

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
        #[pyclass(frozen, unsendable, module = "tickd._native")]
        pub struct $name {
            pub(crate) event: Cell<Event>,
            pub(crate) scales: Cell<Scales>,
        }

        impl View for $name {
            type Content = Event;

            fn empty() -> Self {
                $name { event: Cell::new(NOTHING), scales: Cell::default() }
            }

            #[inline]
            fn fill(&self, event: &Event, scales: Scales) {
                self.event.set(*event);
                self.scales.set(scales);
            }
        }

        #[pymethods]
        impl $name {
            #[getter]
            fn instrument(&self) -> u32 {
                self.event.get().instrument
            }

            #[getter]
            fn seq(&self) -> u64 {
                self.event.get().seq
            }

            #[getter]
            fn id(&self) -> u64 {
                self.event.get().id
            }

            #[getter]
            fn ts_event_ns(&self) -> i64 {
                self.event.get().ts_event
            }

            #[getter]
            fn ts_recv_ns(&self) -> i64 {
                self.event.get().ts_recv
            }

            #[getter]
            fn price(&self) -> i64 {
                self.event.get().price
            }

            #[getter]
            fn size(&self) -> i64 {
                self.event.get().size
            }

            #[getter]
            fn side(&self) -> &'static str {
                letter(self.event.get().side)
            }

            #[getter]
            fn flags(&self) -> u16 {
                self.event.get().flags
            }

            #[getter]
            fn kind(&self) -> u8 {
                self.event.get().kind
            }

            fn __repr__(&self) -> String {
                let event = self.event.get();
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
        fn price_f(&self) -> f64 {
            natural(self.event.get().price, self.scales.get().price)
        }

        /// Size as a float.
        #[getter]
        fn size_f(&self) -> f64 {
            natural(self.event.get().size, self.scales.get().size)
        }

        /// Fills it stands for.
        #[getter]
        fn fills(&self) -> i64 {
            self.event.get().aux
        }
    }
}

event_view! {
    /// A last value of the cache: mark, index, funding, open interest, liquidation, status.
    Value {
        /// See `native/core/src/event.rs`: decimals of a price that is not in the instrument's scale, a status code, …
        #[getter]
        fn aux(&self) -> i64 {
            self.event.get().aux
        }
    }
}

event_view! {
    /// A value of an indicator.
    Signal {
        /// The value; NaN where there is none.
        #[getter]
        fn value(&self) -> f64 {
            f64::from_bits(self.event.get().id)
        }

        /// Number of the indicator's definition.
        #[getter]
        fn indicator(&self) -> i64 {
            self.event.get().aux
        }
    }
}

event_view! {
    /// What became of an order.
    Order {
        /// The number that `submit` returned.
        #[getter]
        fn client_id(&self) -> u64 {
            self.event.get().id
        }

        /// `OrderState` as an integer.
        #[getter]
        fn state(&self) -> i64 {
            self.event.get().aux
        }

        /// Whether it tells of a fill.
        #[getter]
        fn is_fill(&self) -> bool {
            let event = self.event.get();
            event.price != PRICE_UNDEF && event.size != SIZE_UNDEF
        }
    }
}

/// The best bid and offer, both sides of one message.
#[pyclass(frozen, unsendable, module = "tickd._native")]
pub struct Quote {
    pub(crate) sides: Cell<(Event, Event)>,
    pub(crate) scales: Cell<Scales>,
}

impl View for Quote {
    type Content = (Event, Event);

    fn empty() -> Self {
        Quote {
            sides: Cell::new((NOTHING, NOTHING)),
            scales: Cell::default(),
        }
    }

    #[inline]
    fn fill(&self, sides: &(Event, Event), scales: Scales) {
        self.sides.set(*sides);
        self.scales.set(scales);
    }
}

#[pymethods]
impl Quote {
    #[getter]
    fn instrument(&self) -> u32 {
        self.sides.get().1.instrument
    }

    /// Of the second record.
    #[getter]
    fn seq(&self) -> u64 {
        self.sides.get().1.seq
    }

    #[getter]
    fn id(&self) -> u64 {
        self.sides.get().1.id
    }

    #[getter]
    fn ts_event_ns(&self) -> i64 {
        self.sides.get().1.ts_event
    }

    #[getter]
    fn ts_recv_ns(&self) -> i64 {
        self.sides.get().1.ts_recv
    }

    #[getter]
    fn flags(&self) -> u16 {
        self.sides.get().1.flags
    }

    #[getter]
    fn bid_price(&self) -> i64 {
        self.sides.get().0.price
    }

    #[getter]
    fn bid_size(&self) -> i64 {
        self.sides.get().0.size
    }

    #[getter]
    fn ask_price(&self) -> i64 {
        self.sides.get().1.price
    }

    #[getter]
    fn ask_size(&self) -> i64 {
        self.sides.get().1.size
    }

    /// `(bid price, bid size, ask price, ask size)` as floats: what the indicators take, in one call.
    fn floats(&self) -> (f64, f64, f64, f64) {
        let ((bid, ask), scales) = (self.sides.get(), self.scales.get());
        (
            natural(bid.price, scales.price),
            natural(bid.size, scales.size),
            natural(ask.price, scales.price),
            natural(ask.size, scales.size),
        )
    }

    fn __repr__(&self) -> String {
        let (bid, ask) = self.sides.get();
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
