//! `std-session-cart`: what shoppers put into their carts and take out, as orders when they pay and as carts left behind when they fall
//! silent. The pipeline's `by` is the shopper: an entry per item, a state row for the whole cart, a timer for the silence.

use tidemill_sdk::{Config, Event, Output, Process, Reject, Side, State, Step, Table, Timer, Timestamp, process};

/// What a shopper does.
#[derive(Event)]
struct Click<'a> {
    at: Timestamp,
    /// `add`, `remove` or `pay`.
    action: &'a str,
    item: Option<&'a str>,
    cents: Option<i64>,
}

/// The whole cart.
#[derive(State)]
struct Cart {
    /// How many carts there were before it: what is left of those in the table counts for nothing.
    number: i64,
    /// The items in it, each once, in the order they came in.
    items: String,
    cents: i64,
}

/// An item in the cart.
#[derive(Table)]
#[table(name = "lines", ttl = "30d")]
struct Line {
    #[table(key)]
    item: String,
    /// Of which cart.
    cart: i64,
    quantity: i64,
    cents: i64,
}

/// A cart that was paid, or left behind.
#[derive(Output)]
struct Order<'a> {
    items: &'a str,
    cents: i64,
}

/// A cart in which nothing has happened for a while.
#[derive(Output)]
#[output(side = "abandoned")]
struct Abandoned<'a> {
    items: &'a str,
    cents: i64,
    since: Timestamp,
}

#[derive(Config)]
struct Settings {
    /// How long a cart may stand still.
    #[config(default = std::time::Duration::from_secs(1800))]
    patience: std::time::Duration,
}

struct SessionCart;

impl Settings {
    fn patience_us(&self) -> i64 {
        i64::try_from(self.patience.as_micros()).unwrap_or(i64::MAX)
    }
}

/// Follows carts: an order when one is paid, a row of `abandoned` when one with something in it has stood still for `patience`.
#[process(state_ttl = "30d")]
impl Process for SessionCart {
    type Config = Settings;
    type Event = Click<'static>;
    type State = Cart;
    type Tables = (Table<Line>,);
    type Output = Order<'static>;
    type Sides = (Side<Abandoned<'static>>,);

    fn wants(click: &Click, _settings: &Settings, tables: &mut Self::Tables) {
        tables.0.want(click.item.unwrap_or_default().to_owned());
    }

    fn on_event(click: &Click, step: &mut Step<Self>) -> Result<(), Reject> {
        let item = click.item.unwrap_or_default().to_owned();
        match click.action {
            "add" => {
                let cart = step.state.number;
                let line = step.tables.0.get(&item).filter(|line| line.cart == cart);
                let (had, worth) = line.map_or((0, 0), |line| (line.quantity, line.cents));
                let cents = click.cents.ok_or("an item without a price")?;
                if had == 0 {
                    let space = if step.state.items.is_empty() { "" } else { " " };
                    step.state.items.push_str(&format!("{space}{item}"));
                }
                step.tables.0.put(Line { item, cart, quantity: had + 1, cents: worth + cents });
                step.state.cents += cents;
            }
            "remove" => {
                let line = step.tables.0.delete(&item).filter(|line| line.cart == step.state.number);
                let line = line.ok_or("an item that is not in the cart")?;
                step.state.cents -= line.cents;
                let left: Vec<&str> = step.state.items.split(' ').filter(|other| *other != item).collect();
                step.state.items = left.join(" ");
            }
            "pay" => {
                step.state.number += 1;
                let (items, cents) = (std::mem::take(&mut step.state.items), std::mem::take(&mut step.state.cents));
                step.emit(Order { items: &items, cents });
                step.clear_timer("silence");
                return Ok(());
            }
            other => return Err(Reject::new(format!("`{other}` is nothing a shopper does"))),
        }
        let due = Timestamp(click.at.0.saturating_add(step.config.patience_us()));
        step.set_timer("silence", due);
        Ok(())
    }

    fn wants_on_timer(_timer: &Timer, cart: &Cart, _settings: &Settings, tables: &mut Self::Tables) {
        cart.items.split(' ').filter(|item| !item.is_empty()).for_each(|item| tables.0.want(item.to_owned()));
    }

    fn on_timer(timer: &Timer, step: &mut Step<Self>) -> Result<(), Reject> {
        let items = std::mem::take(&mut step.state.items);
        let cents = std::mem::take(&mut step.state.cents);
        for item in items.split(' ').filter(|item| !item.is_empty()) {
            step.tables.0.delete(&item.to_owned());
        }
        if !items.is_empty() {
            let since = Timestamp(timer.at.0.saturating_sub(step.config.patience_us()));
            step.sides.0.push(Abandoned { items: &items, cents, since });
        }
        Ok(())
    }
}
