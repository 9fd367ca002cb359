//! The forest in linfa's words, so that a linfa user can fit it on a dataset and predict with it.

use super::{Error, Forest, Params};
use linfa::DatasetBase;
use linfa::traits::{Fit, PredictInplace};
use ndarray::{Array1, ArrayBase, Data, Ix2};

impl<D: Data<Elem = f32>, T> Fit<ArrayBase<D, Ix2>, T, Error> for Params {
    type Object = Forest;

    /// Targets are not looked at.
    fn fit(&self, dataset: &DatasetBase<ArrayBase<D, Ix2>, T>) -> Result<Forest, Error> {
        self.fit_rows(dataset.records().view())
    }
}

impl<D: Data<Elem = f32>> PredictInplace<ArrayBase<D, Ix2>, Array1<f32>> for Forest {
    /// Scores each row. linfa leaves no room for an error: rows that do not fit the model score NaN;
    /// [`Forest::score`] says why.
    fn predict_inplace<'a>(&'a self, rows: &'a ArrayBase<D, Ix2>, scores: &mut Array1<f32>) {
        *scores = self.score(rows.view()).unwrap_or_else(|_| Array1::from_elem(rows.nrows(), f32::NAN));
    }

    fn default_target(&self, rows: &ArrayBase<D, Ix2>) -> Array1<f32> {
        Array1::zeros(rows.nrows())
    }
}
