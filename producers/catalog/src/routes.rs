//! The whole surface of the catalogue, and what its endpoints share.

use crate::{
    categories, list,
    product::{self, Product},
    read::{self, Category},
    wanted::Wanted,
};
use ingress::{
    coalesce::{Bounds, Coalescer},
    surface::{Rule, Surface},
};
use sqlx::PgPool;
use std::sync::Arc;
use uuid::Uuid;

/// The routes of the catalogue.
#[must_use]
pub fn surface() -> Surface<Catalog> {
    Surface::new()
        .get("/api/products", Rule::public(), list::list, list::about())
        .get("/api/products/{id}", Rule::public(), product::product, product::about())
        .get("/api/categories", Rule::public(), categories::categories, categories::about())
}

/// The catalogue endpoints. Cheap to clone.
#[derive(Clone)]
pub struct Catalog {
    pub(crate) pages: Coalescer<Wanted, Vec<Product>>,
    pub(crate) products: Coalescer<Uuid, Option<Product>>,
    pub(crate) categories: Coalescer<(), Arc<Vec<Category>>>,
}

impl Catalog {
    /// Starts the reads beside the endpoints, on the pool of the role `mambogo_edge`.
    #[must_use]
    pub fn start(pool: PgPool) -> Self {
        let of_categories = pool.clone();
        let categories = Coalescer::start("catalog_categories", Bounds::default(), move |asked: Vec<()>| {
            let pool = of_categories.clone();
            async move {
                let all = Arc::new(read::categories(&pool).await.map_err(|error| error.to_string())?);
                Ok(vec![all; asked.len()])
            }
        });
        let (of_pages, slugs) = (pool.clone(), categories.clone());
        // each page is a query of its own; what is shared is the bound on how many run
        let bounds = Bounds { batch: 1, concurrent: 8, queue: 1_000, ..Bounds::default() };
        let pages = Coalescer::start("catalog_pages", bounds, move |wanted: Vec<Wanted>| {
            let (pool, slugs) = (of_pages.clone(), slugs.clone());
            async move {
                let mut pages = Vec::with_capacity(wanted.len());
                for one in &wanted {
                    pages.push(page(&pool, &slugs, one).await?);
                }
                Ok(pages)
            }
        });
        let products = Coalescer::start("catalog_products", Bounds::default(), move |ids: Vec<Uuid>| {
            let pool = pool.clone();
            async move { read::products(&pool, &ids).await.map_err(|error| error.to_string()) }
        });
        Self { pages, products, categories }
    }
}

async fn page(
    pool: &PgPool,
    categories: &Coalescer<(), Arc<Vec<Category>>>,
    wanted: &Wanted,
) -> Result<Vec<Product>, String> {
    let category = match &wanted.category {
        None => None,
        Some(slug) => {
            let known = categories.ask(()).await.map_err(|error| error.to_string())?;
            let found = known.iter().find(|category| category.slug == *slug);
            // nothing is in a category that there is not
            let Some(category) = found else { return Ok(Vec::new()) };
            Some(category.id)
        }
    };
    read::page(pool, wanted, category).await.map_err(|error| error.to_string())
}
