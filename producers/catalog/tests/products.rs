//! The catalogue, as a client sees it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use ingress::{auth::Verifier, guard::Guard};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use uuid::Uuid;

async fn shop() -> (testbed::Database, Router) {
    let database = testbed::Database::create().await;
    let owner = PgPool::connect_lazy(&database.url("catalog")).unwrap();
    sqlx::query(
        "INSERT INTO categories (id, slug, name) VALUES (901, 'books', 'Books'), (902, 'toys', 'Toys')",
    )
    .execute(&owner)
    .await
    .unwrap();
    for n in 1..=5_i32 {
        let insert = "INSERT INTO products (id, category_id, name, description, price, currency, is_active, stock_quantity)
                      VALUES ($1, $2, $3, 'd', $4, 'USD', $5, 7)";
        sqlx::query(insert)
            .bind(Uuid::from_u128(u128::try_from(n).unwrap()))
            .bind(901 + n % 2)
            .bind(format!("product {n}"))
            .bind(i64::from(n) * 100)
            .bind(n != 5)
            .execute(&owner)
            .await
            .unwrap();
    }
    let pool = PgPool::connect_lazy(&database.url("edge")).unwrap();
    let auth = ingress::config::auth(&chassis::settings::Environment::of([])).unwrap();
    let guard = Guard::new(Verifier::start(&auth, CancellationToken::new()).unwrap());
    let surface = catalog_api::surface().with_state(catalog_api::Catalog::start(pool));
    let app = ingress::layers::around(surface.guarded(guard));
    (database, app)
}

async fn get(app: &Router, path: &str) -> (StatusCode, Value) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap())
}

fn names(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn active_products_are_listed_page_by_page_and_filtered() {
    let (_database, app) = shop().await;
    let (status, first) = get(&app, "/api/products?limit=3").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(names(&first), ["product 1", "product 2", "product 3"]);
    let cursor = first["nextCursor"].as_str().unwrap();
    let (_, second) = get(&app, &format!("/api/products?limit=3&cursor={cursor}")).await;
    assert_eq!((names(&second), &second["nextCursor"]), (vec!["product 4"], &Value::Null));
    assert_eq!(names(&get(&app, "/api/products?category=toys").await.1), ["product 1", "product 3"]);
    assert_eq!(names(&get(&app, "/api/products?category=toys&maxPrice=100").await.1), ["product 1"]);
    assert_eq!(
        names(&get(&app, "/api/products?sort=-price&minPrice=200").await.1),
        ["product 4", "product 3", "product 2"]
    );
    assert_eq!(names(&get(&app, "/api/products?inStock=true&limit=1").await.1), ["product 1"]);
    assert!(names(&get(&app, "/api/products?category=nothing").await.1).is_empty());
    for bad in ["limit=0", "maxPrice=-1", "maxPrice=1e3", "cursor=x", "category=%00", "sort=name", "page=2"] {
        let (status, problem) = get(&app, &format!("/api/products?{bad}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
        assert_eq!(problem["errors"][0]["field"], bad.split('=').next().unwrap());
    }
}

#[tokio::test]
async fn a_cursor_goes_on_in_the_order_of_its_list() {
    let (_database, app) = shop().await;
    let (_, first) = get(&app, "/api/products?sort=-price&limit=2").await;
    assert_eq!(names(&first), ["product 4", "product 3"]);
    let cursor = first["nextCursor"].as_str().unwrap();
    let (_, second) = get(&app, &format!("/api/products?sort=-price&limit=2&cursor={cursor}")).await;
    assert_eq!((names(&second), &second["nextCursor"]), (vec!["product 2", "product 1"], &Value::Null));
}

#[tokio::test]
async fn words_are_found_by_their_stem_and_left_out_by_a_minus() {
    let (_database, app) = shop().await;
    let found = async |q: &str| {
        let (status, page) = get(&app, &format!("/api/products?q={q}")).await;
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
    let (_database, app) = shop().await;
    let (_, categories) = get(&app, "/api/categories").await;
    let expected = json!([{"slug": "books", "name": "Books"}, {"slug": "toys", "name": "Toys"}]);
    assert_eq!(categories["items"], expected);
    for path in ["/api/categories", "/api/products", "/api/products/00000000-0000-0000-0000-000000000001"] {
        let ask = async |tag: &str| {
            let request = Request::get(path).header("if-none-match", tag).body(Body::empty()).unwrap();
            app.clone().oneshot(request).await.unwrap()
        };
        let fresh = ask("\"other\"").await;
        assert_eq!(fresh.status(), StatusCode::OK, "{path}");
        assert!(fresh.headers()["cache-control"].to_str().unwrap().starts_with("public, max-age=5"));
        let tag = fresh.headers()["etag"].to_str().unwrap().to_owned();
        assert_eq!(ask(&tag).await.status(), StatusCode::NOT_MODIFIED, "{path}");
    }
}

#[tokio::test]
async fn a_product_is_read_whether_sold_or_no_longer() {
    let (_database, app) = shop().await;
    let (status, product) = get(&app, "/api/products/00000000-0000-0000-0000-000000000005").await;
    assert_eq!(status, StatusCode::OK);
    let expected = json!({
        "id": "00000000-0000-0000-0000-000000000005", "name": "product 5", "description": "d", "category": "toys",
        "price": {"amount": 500, "currency": "USD"}, "available": 7, "active": false,
        "version": 1
    });
    assert_eq!(product, expected);
    for absent in ["00000000-0000-0000-0000-000000000009", "x"] {
        assert_eq!(get(&app, &format!("/api/products/{absent}")).await.0, StatusCode::NOT_FOUND);
    }
}
