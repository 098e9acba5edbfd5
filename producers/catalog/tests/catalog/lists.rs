//! Lists, searches, pages, categories, and single products.

use crate::stage::{Stage, path};
use axum::http::StatusCode;
use serde_json::{Value, json};

async fn get(stage: &Stage, path: &str) -> (StatusCode, Value) {
    let answer = stage.get(path).await;
    (answer.status, answer.body)
}

fn names(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn active_products_are_listed_page_by_page_and_filtered() {
    let stage = Stage::set().await;
    let (status, first) = get(&stage, "/api/products?limit=3").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(names(&first), ["product 1", "product 2", "product 3"]);
    let cursor = first["nextCursor"].as_str().unwrap();
    let (_, second) = get(&stage, &format!("/api/products?limit=3&cursor={cursor}")).await;
    assert_eq!((names(&second), &second["nextCursor"]), (vec!["product 4"], &Value::Null));
    assert_eq!(names(&get(&stage, "/api/products?category=toys").await.1), ["product 1", "product 3"]);
    assert_eq!(names(&get(&stage, "/api/products?category=toys&maxPrice=100").await.1), ["product 1"]);
    assert_eq!(
        names(&get(&stage, "/api/products?sort=-price&minPrice=200").await.1),
        ["product 4", "product 3", "product 2"]
    );
    assert_eq!(names(&get(&stage, "/api/products?inStock=true&limit=1").await.1), ["product 1"]);
    assert!(names(&get(&stage, "/api/products?category=nothing").await.1).is_empty());
    for bad in ["limit=0", "maxPrice=-1", "maxPrice=1e3", "cursor=x", "category=%00", "sort=name", "page=2"] {
        let (status, problem) = get(&stage, &format!("/api/products?{bad}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
        assert_eq!(problem["errors"][0]["field"], bad.split('=').next().unwrap());
    }
}

#[tokio::test]
async fn a_cursor_goes_on_in_the_order_of_its_list() {
    let stage = Stage::set().await;
    let (_, first) = get(&stage, "/api/products?sort=-price&limit=2").await;
    assert_eq!(names(&first), ["product 4", "product 3"]);
    let cursor = first["nextCursor"].as_str().unwrap();
    let (_, second) = get(&stage, &format!("/api/products?sort=-price&limit=2&cursor={cursor}")).await;
    assert_eq!((names(&second), &second["nextCursor"]), (vec!["product 2", "product 1"], &Value::Null));
}

#[tokio::test]
async fn words_are_found_by_their_stem_and_left_out_by_a_minus() {
    let stage = Stage::set().await;
    let found = async |q: &str| {
        let (status, page) = get(&stage, &format!("/api/products?q={q}")).await;
        assert_eq!(status, StatusCode::OK, "{q}");
        names(&page).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(found("PRODUCTS+3").await, ["product 3"]);
    assert_eq!(found("product+-3+-4").await, ["product 1", "product 2"]);
    assert_eq!(found("1+or+2").await, ["product 1", "product 2"]);
    assert_eq!(found("%22product+4%22").await, ["product 4"]);
    for nothing in ["product+5", "the", "%27;--", "!!%26%26|(", "%F0%9F%9A%B2"] {
        assert!(found(nothing).await.is_empty(), "{nothing}");
    }
}

#[tokio::test]
async fn categories_are_told_and_what_is_unchanged_is_not_sent_again() {
    let stage = Stage::set().await;
    let (_, categories) = get(&stage, "/api/categories").await;
    let expected = json!([{"slug": "books", "name": "Books"}, {"slug": "toys", "name": "Toys"}]);
    assert_eq!(categories["items"], expected);
    for path in ["/api/categories", "/api/products", "/api/products/00000000-0000-0000-0000-000000000001"] {
        let fresh = stage.get_with(path, &[("if-none-match", "\"other\"")]).await;
        assert_eq!(fresh.status, StatusCode::OK, "{path}");
        assert!(fresh.headers["cache-control"].to_str().unwrap().starts_with("public, max-age=5"));
        let tag = fresh.headers["etag"].to_str().unwrap().to_owned();
        let known = stage.get_with(path, &[("if-none-match", &tag)]).await;
        assert_eq!(known.status, StatusCode::NOT_MODIFIED, "{path}");
    }
}

#[tokio::test]
async fn a_product_is_read_whether_sold_or_no_longer() {
    let stage = Stage::set().await;
    let (status, product) = get(&stage, &path(5)).await;
    assert_eq!(status, StatusCode::OK);
    let expected = json!({
        "id": "00000000-0000-0000-0000-000000000005", "name": "product 5", "description": "d", "category": "toys",
        "price": {"amount": 500, "currency": "USD"}, "available": 7, "active": false,
        "version": 1
    });
    assert_eq!(product, expected);
    for absent in ["00000000-0000-0000-0000-000000000009", "x"] {
        assert_eq!(get(&stage, &format!("/api/products/{absent}")).await.0, StatusCode::NOT_FOUND);
    }
}
