//! The past trades of one day of one code, as the SDK's `ticks` query gives them: columns, without totals.
//!
//! Added up from the beginning of a session, the volumes are the totals that live ticks carry; that is what tells which of
//! them are missing. No time and no price is compared. Written by `gateway/venues/shioaji/past.py`.

use crate::decode::continuity::COUNT_BITS;
use crate::decode::json::{Cursor, Value};
use crate::decode::stage::{Stage, Trade};
use crate::decode::symbols::Market;
use crate::decode::taiwan::Moment;
use crate::error::{Error, Reason, Result};
use crate::event::side;

/// Version of the reply this build reads.
const VERSION: u64 = 1;

/// One column, being read.
struct Column<'a> {
    cursor: Cursor<'a>,
    first: bool,
    at: usize,
}

impl<'a> Column<'a> {
    fn new(value: Option<Value<'a>>, end: usize) -> Result<Self> {
        let value = value.ok_or(Error::new(Reason::MissingField, end))?;
        let mut cursor = value.cursor();
        cursor.expect(b'[').map_err(|error| value.shifted(error))?;
        Ok(Column {
            cursor,
            first: true,
            at: value.at,
        })
    }

    fn more(&mut self) -> Result<bool> {
        let more = self.cursor.element(&mut self.first);
        more.map_err(|error| Error::new(error.reason, error.position + self.at))
    }

    fn value(&mut self) -> Result<Value<'a>> {
        let at = self.at;
        let value = self.cursor.value();
        let value = value.map_err(|error| Error::new(error.reason, error.position + at))?;
        Ok(Value {
            at: value.at + at,
            ..value
        })
    }
}

/// `{"v":1,"class":"Ticks","code":"2330","stock":true,"ts":[…],"close":["101.5",…],"volume":[…],"tick_type":[…]}`: `ts` in
/// nanoseconds of Taiwan's clock, ascending, from the beginning of each session in it.
pub(super) fn ticks(body: &[u8], stage: &mut Stage) -> Result<()> {
    let mut cursor = Cursor::new(body);
    let (mut version, mut code, mut stock) = (None, None, false);
    let (mut times, mut prices, mut volumes, mut types) = (None, None, None, None);
    cursor.expect(b'{')?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        let value = cursor.value()?;
        match key {
            b"v" => version = Some(value),
            b"code" => code = Some(value),
            b"stock" => stock = value.boolean()?,
            b"ts" => times = Some(value),
            b"close" => prices = Some(value),
            b"volume" => volumes = Some(value),
            b"tick_type" => types = Some(value),
            _ => {}
        }
    }
    cursor.end()?;
    let missing = Error::new(Reason::MissingField, body.len());
    let version = version.ok_or(missing.clone())?;
    if version.unsigned()? != VERSION {
        return Err(Error::new(Reason::Unsupported, version.at));
    }
    let code = code.ok_or(missing)?;
    let market = stage.market(code.text()?, code.at)?;
    let mut columns = [times, prices, volumes, types]
        .into_iter()
        .map(|value| Column::new(value, body.len()))
        .collect::<Result<Vec<_>>>()?;
    let [times, prices, volumes, types] = columns.as_mut_slice() else {
        return Err(Error::new(Reason::Malformed, 0));
    };
    let mut total = Total::default();
    while times.more()? {
        if !(prices.more()? && volumes.more()? && types.more()?) {
            return Err(Error::new(Reason::Malformed, times.at));
        }
        let row = [times.value()?, prices.value()?, volumes.value()?, types.value()?];
        tick(&row, market, stock, &mut total, stage)?;
    }
    stage.past_ends();
    Ok(())
}

/// The running volume of the session that is being read.
#[derive(Default)]
struct Total {
    count: u64,
    lots: u64,
}

fn tick(row: &[Value<'_>; 4], market: Market, stock: bool, total: &mut Total, stage: &mut Stage) -> Result<()> {
    let [time, price, volume, tick_type] = row;
    let moment = i64::try_from(time.unsigned()?)
        .map(Moment::of_local)
        .map_err(|_| Error::new(Reason::Overflow, time.at))?;
    let added = volume.unsigned()?;
    let count = moment.count(stock);
    if count != total.count {
        *total = Total { count, lots: 0 };
    }
    if added == 0 {
        return Ok(()); // results of odd lots and fixed prices, behind the close
    }
    let first_id = total.lots + 1;
    total.lots = total
        .lots
        .checked_add(added)
        .filter(|lots| lots >> COUNT_BITS == 0)
        .ok_or(Error::new(Reason::Overflow, volume.at))?;
    let trade = Trade {
        id: total.lots,
        first_id,
        ts_event: moment.utc_ns(),
        price: price.decimal(market.price_scale)?,
        size: volume.decimal(market.size_scale)?,
        side: match tick_type.unsigned()? {
            1 => side::BID,
            2 => side::ASK,
            _ => side::NONE,
        },
        fills: 1,
        flags: 0,
    };
    stage.trade(market, trade);
    stage.in_count(count);
    Ok(())
}
