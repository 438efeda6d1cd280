//! A process: which orders are paid, and which are not in time?

use std::time::Duration;

use tidemill_sdk::{Config, Event, Output, Process, Reject, Side, State, Step, Table, Timer, Timestamp, process};

/// What a row must have. A field that may be missing is an `Option`.
#[derive(Event)]
struct Change<'a> {
    at: Timestamp,
    order: &'a str,
    /// `placed` or `paid`.
    what: &'a str,
    cents: Option<i64>,
}

/// What the host remembers once for each value of the pipeline's `by`: here, of each customer.
#[derive(State)]
struct Customer {
    overdue: i64,
}

/// What it remembers of each of a customer's orders, until it is deleted or has not been touched for 30 days.
#[derive(Table)]
#[table(name = "orders", ttl = "30d")]
struct Order {
    #[table(key)]
    order: String,
    placed: Timestamp,
    cents: i64,
}

/// Rows of the main output: orders that were paid. The customer stands in front of them.
#[derive(Output)]
struct Paid<'a> {
    order: &'a str,
    cents: i64,
    after_s: i64,
}

/// Rows of the output `overdue`, which the pipeline gives a stream of its own.
#[derive(Output)]
#[output(side = "overdue")]
struct Overdue<'a> {
    order: &'a str,
    cents: i64,
    times: i64,
}

/// The step's `config`.
#[derive(Config)]
struct Settings {
    #[config(default = Duration::from_secs(600))]
    patience: Duration,
}

struct Orders;

/// An order is told when it is paid, and beside it when it was not within `patience`.
#[process]
impl Process for Orders {
    type Config = Settings;
    type Event = Change<'static>;
    type State = Customer;
    type Tables = (Table<Order>,);
    type Output = Paid<'static>;
    type Sides = (Side<Overdue<'static>>,);

    /// Asked before the events of a batch: which entries they need. Only those are there in `on_event`.
    fn wants(change: &Change, _settings: &Settings, tables: &mut Self::Tables) {
        tables.0.want(change.order.to_owned());
    }

    fn on_event(change: &Change, step: &mut Step<Self>) -> Result<(), Reject> {
        let order = change.order.to_owned();
        match change.what {
            "placed" => {
                let cents = change.cents.ok_or("an order without a price")?;
                step.tables.0.put(Order { order, placed: change.at, cents });
                let patience_us = step.config.patience.as_micros() as i64;
                // The order is the name of its timer: setting it again would move it.
                step.set_timer(change.order, Timestamp(change.at.0 + patience_us));
            }
            "paid" => {
                let Some(Order { placed, cents, .. }) = step.tables.0.delete(&order) else {
                    return Err("paid, and never placed".into());
                };
                step.clear_timer(change.order);
                step.emit(Paid { order: change.order, cents, after_s: (change.at.0 - placed.0) / 1_000_000 });
            }
            other => return Err(Reject::new(format!("`{other}` is nothing that happens to an order"))),
        }
        Ok(())
    }

    fn wants_on_timer(timer: &Timer, _customer: &Customer, _settings: &Settings, tables: &mut Self::Tables) {
        tables.0.want(timer.name.to_owned());
    }

    /// No event up to the timer's time can come any more: the order was not paid in time.
    fn on_timer(timer: &Timer, step: &mut Step<Self>) -> Result<(), Reject> {
        if let Some(order) = step.tables.0.get(&timer.name.to_owned()) {
            step.state.overdue += 1;
            step.sides.0.push(Overdue { order: timer.name, cents: order.cents, times: step.state.overdue });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_sdk::testing;

    #[test]
    fn orders_are_paid_or_overdue() {
        let test = testing::process::<Orders>().by(&["customer"]).time("at").ends();
        let report = test.run(include_str!("../events.ndjson"));
        assert_eq!(report.rows[0], r#"["ann"] {"order":"a1","cents":1250,"after_s":180}"#);
        assert_eq!(report.rows.len(), 2, "b1 is late, and paid");
        let [b1, b2] = &report.sides["overdue"][..] else { panic!("{:?}", report.sides) };
        assert_eq!(b1, r#"["bob"] {"order":"b1","cents":700,"times":1}"#);
        assert_eq!(b2, r#"["bob"] {"order":"b2","cents":300,"times":2}"#);
        assert_eq!(report.notes, [(5, "paid, and never placed".to_owned())]);
    }
}
