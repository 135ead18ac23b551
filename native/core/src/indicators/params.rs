//! What each indicator was made with, read back from its state: names, order and values of the constructors in Python.
//!
//! It makes and changes nothing.

use super::buckets::{Buckets, Volume};
use super::bulk::Bulk;
use super::flow::{Amihud, Cvd, KyleLambda, TradeFlowImbalance};
use super::formula::Reading;
use super::hawkes::Hawkes;
use super::hawkes_bivariate::HawkesBivariate;
use super::levels::{BookReading, Shape};
use super::microprice::Microprice;
use super::mlofi::Mlofi;
use super::ofi::{Ofi, Policy};
use super::returns::{DecayedSum, EwmaVariance, RealizedVariance, RollSpread};
use super::signing::{BulkShare, TradeSign};
use super::vpin::{Vpin, VpinBvc, VpinFixed};
use super::window::{Rows, Span};

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Param {
    /// Not given.
    Nothing,
    /// A switch.
    Switch(bool),
    /// A whole number.
    Whole(i64),
    /// A number.
    Float(f64),
    /// One of a few words.
    Word(&'static str),
    /// Numbers.
    Floats(Vec<f64>),
    /// Rows of numbers.
    Table(Vec<Vec<f64>>),
}

/// Names and values, in the order of the constructor.
pub type Params = Vec<(&'static str, Param)>;

/// Can say what it was made with.
pub trait Described {
    /// The parameters.
    fn params(&self) -> Params;
}

fn whole(given: Option<i64>) -> Param {
    given.map_or(Param::Nothing, Param::Whole)
}

fn span(rows: &Rows) -> Params {
    let Span {
        window,
        horizon_ns,
        half_life_ns,
    } = rows.span();
    vec![
        ("window", whole(window)),
        ("horizon_ns", whole(horizon_ns)),
        ("half_life_ns", whole(half_life_ns)),
    ]
}

fn missing(policy: &Policy) -> (&'static str, Param) {
    let word = if policy.missing_is_empty { "empty" } else { "unknown" };
    ("missing", Param::Word(word))
}

fn switch(name: &'static str, is: bool) -> (&'static str, Param) {
    (name, Param::Switch(is))
}

/// Implements `Described`: what comes first, then `strict`, then what comes last.
macro_rules! described {
    ($($name:ty: |$own:ident| $first:expr, $last:expr;)*) => {$(
        impl Described for $name {
            fn params(&self) -> Params {
                let $own = self;
                let mut params: Params = $first;
                params.push(switch("strict", self.tally.strict));
                params.extend($last);
                params
            }
        }
    )*};
}

impl<F> Described for Reading<F> {
    fn params(&self) -> Params {
        vec![
            switch("strict", self.tally.strict),
            switch("skip_crossed", self.skip_crossed),
        ]
    }
}

described! {
    Ofi: |own| {
        let mut params = span(&own.window);
        params.push(missing(&own.policy));
        params
    }, [switch("skip_crossed", own.policy.skip_crossed)];
    Mlofi: |own| {
        let weights = Param::Floats(own.weights.clone());
        let mut params = if own.is_integrated {
            vec![("weights", weights)]
        } else {
            vec![("levels", Param::Whole(own.weights.len() as i64))]
        };
        params.extend(span(&own.window));
        params.push(missing(&own.policy));
        params
    }, {
        let given = (!own.is_integrated).then(|| ("weights", Param::Floats(own.weights.clone())));
        given.into_iter().chain([switch("skip_crossed", own.policy.skip_crossed)])
    };
    Microprice: |own| {
        let rows = own.table.chunks(own.buckets.max(1) as usize).map(<[f64]>::to_vec);
        vec![("table", Param::Table(rows.collect())), ("tick", Param::Float(own.tick))]
    }, [];
    BookReading: |own| {
        let mut params = vec![("levels", Param::Whole(own.levels as i64))];
        match own.shape {
            Shape::Slope => params.push(("side", Param::Word("both"))),
            Shape::BidSlope => params.push(("side", Param::Word("bid"))),
            Shape::AskSlope => params.push(("side", Param::Word("ask"))),
            Shape::Imbalance | Shape::CrossPrice | Shape::DepthPrice => (),
        }
        params
    }, [];
    Vpin: |own| bucketed(&own.buckets, Param::Float(own.buckets.volume), Vec::new()), [];
    VpinFixed: |own| bucketed(&own.buckets, Param::Whole(own.buckets.volume), Vec::new()), [];
    VpinBvc: |own| bucketed(&own.buckets, Param::Float(own.buckets.volume), bulk(&own.bulk)), [];
    TradeFlowImbalance: |own| span(&own.window), [];
    Cvd: |own| {
        let _ = own;
        Vec::new()
    }, [];
    KyleLambda: |own| last(&own.window, 0), [];
    Amihud: |own| last(&own.window, 0), [];
    RealizedVariance: |own| last(&own.window, own.estimator.reach() - 1), [];
    RollSpread: |own| last(&own.window, 0), [];
    EwmaVariance: |own| {
        let is_timed = own.half_life_ns > 0;
        let decay = if is_timed { Param::Nothing } else { Param::Float(own.keep) };
        vec![("decay", decay), ("half_life_ns", whole(is_timed.then_some(own.half_life_ns)))]
    }, [];
    DecayedSum: |own| vec![("half_life_ns", Param::Whole(own.half_life_ns))], [];
    TradeSign: |own| {
        let _ = own;
        Vec::new()
    }, [];
    BulkShare: |own| bulk(&own.bulk), [];
    Hawkes: |own| vec![
        ("mu", Param::Float(own.mu)),
        ("alpha", Param::Float(own.alpha)),
        ("beta", Param::Float(own.beta)),
    ], [];
    HawkesBivariate: |own| {
        let [[common, _], _] = own.beta;
        let table = |rows: &[[f64; 2]; 2]| Param::Table(rows.iter().map(|row| row.to_vec()).collect());
        let beta = if own.is_common { Param::Float(common) } else { table(&own.beta) };
        vec![("mu", Param::Floats(own.mu.to_vec())), ("alpha", table(&own.alpha)), ("beta", beta)]
    }, [];
}

fn last(rows: &Rows, more: i64) -> Params {
    vec![("window", whole(rows.span().window.map(|rows| rows + more)))]
}

fn bulk(bulk: &Bulk) -> Params {
    let sigma = if bulk.sigma > 0.0 {
        Param::Float(bulk.sigma)
    } else {
        Param::Nothing
    };
    let distribution = if bulk.is_student { "t025" } else { "normal" };
    vec![
        ("sigma", sigma),
        ("distribution", Param::Word(distribution)),
        ("decay", Param::Float(bulk.decay)),
    ]
}

fn bucketed<V: Volume>(buckets: &Buckets<V>, volume: Param, classifier: Params) -> Params {
    let mut params = vec![
        ("bucket_volume", volume),
        ("buckets", Param::Whole(buckets.size() as i64)),
    ];
    params.extend(classifier);
    params.push(switch("split", buckets.split));
    params.push(("ranked", Param::Whole(buckets.history.ranked() as i64)));
    params
}
