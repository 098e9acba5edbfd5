//! The whole surface of the catalogue, and what its endpoints share.

use crate::{list::list, product::product, read};
use ingress::{
    coalesce::{Bounds, Coalescer},
    surface::{Rule, Surface},
};
use sqlx::PgPool;
use uuid::Uuid;

/// The routes of the catalogue.
#[must_use]
pub fn surface() -> Surface<Catalog> {
    Surface::new().get("/api/products", Rule::public(), list).get(
        "/api/products/{id}",
        Rule::public(),
        product,
    )
}

/// The catalogue endpoints. Cheap to clone.
#[derive(Clone)]
pub struct Catalog {
    pub(crate) pages: Coalescer<read::Wanted, Vec<read::Product>>,
    pub(crate) products: Coalescer<Uuid, Option<read::Product>>,
}

impl Catalog {
    /// Starts the reads beside the endpoints, on the pool of the role `mambogo_edge`.
    #[must_use]
    pub fn start(pool: PgPool) -> Self {
        let of_pages = pool.clone();
        // each page is a query of its own; what is shared is the bound on how many run
        let bounds = Bounds { batch: 1, concurrent: 4, queue: 1_000, ..Bounds::default() };
        let pages = Coalescer::start("catalog_pages", bounds, move |wanted: Vec<read::Wanted>| {
            let pool = of_pages.clone();
            async move {
                let mut pages = Vec::with_capacity(wanted.len());
                for one in &wanted {
                    pages.push(read::page(&pool, one).await.map_err(|error| error.to_string())?);
                }
                Ok(pages)
            }
        });
        let products = Coalescer::start("catalog_products", Bounds::default(), move |ids: Vec<Uuid>| {
            let pool = pool.clone();
            async move { read::products(&pool, &ids).await.map_err(|error| error.to_string()) }
        });
        Self { pages, products }
    }
}
