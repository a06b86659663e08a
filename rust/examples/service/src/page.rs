//! Pages from a template: text with `{{names}}` in it, which values replace.

use std::fmt::Write;

use crate::Item;

const RECEIPT: &str = "<!doctype html><title>Receipt</title><h1>{{customer}}</h1>\
    <table><tr><th>thing<th>count<th>price<th>tags</tr>{{rows}}</table><p>Total: {{total}}</p>\n";

/// The customer's order as a page.
pub fn receipt(customer: &str, items: &[Item]) -> String {
    let mut rows = String::new();
    for item in items {
        let tags = item.tags.iter().map(|tag| escape(tag)).collect::<Vec<_>>().join(", ");
        let _ = write!(
            rows,
            "<tr><td>{}<td>{}<td>{:.2}<td>{tags}</tr>",
            escape(&item.name),
            item.count,
            item.price
        );
    }
    let total: f64 = items.iter().map(|item| item.price * f64::from(item.count)).sum();
    render(
        RECEIPT,
        &[("customer", escape(customer)), ("rows", rows), ("total", format!("{total:.2}"))],
    )
}

fn render(template: &str, values: &[(&str, String)]) -> String {
    let mut page = String::new();
    let mut rest = template;
    while let Some((text, after)) = rest.split_once("{{") {
        page.push_str(text);
        let Some((name, after)) = after.split_once("}}") else { break };
        page.extend(values.iter().filter(|(key, _)| *key == name).map(|(_, value)| value.as_str()));
        rest = after;
    }
    page.push_str(rest);
    page
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_replace_names_and_are_escaped() {
        let item = Item { name: "<b>".into(), count: 2, price: 1.5, tags: vec!["a&b".into()] };
        let page = receipt("x > y", &[item]);
        assert!(page.contains("<h1>x &gt; y</h1>"), "{page}");
        assert!(page.contains("<tr><td>&lt;b&gt;<td>2<td>1.50<td>a&amp;b</tr>"), "{page}");
        assert!(page.contains("Total: 3.00"), "{page}");
    }
}
